import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';

/**
 * The least that sessions in Redis can cost, written by hand: a JSON string under an unsigned token, read and slid by
 * one command. It can't list or end a user's sessions, and asks Redis about every made-up token.
 */
export class GetexSessions {
  readonly #redis: Redis;
  readonly #ttl: number;

  /** @param ttl seconds a session lives without a request. */
  constructor(url: string, ttl: number) {
    this.#redis = new Redis(url);
    this.#ttl = ttl;
  }

  async login(userId: string): Promise<string> {
    const token = randomBytes(24).toString('base64url');
    await this.#redis.set(`sess:${token}`, JSON.stringify({ userId }), 'EX', this.#ttl);
    return token;
  }

  async userOf(token: string | undefined): Promise<string | null> {
    if (token === undefined) return null;
    const record = await this.#redis.getex(`sess:${token}`, 'EX', this.#ttl);
    return record === null ? null : (JSON.parse(record) as { userId: string }).userId;
  }
}
