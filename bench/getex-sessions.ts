import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { Redis } from 'ioredis';

/** Sessions written by hand. */
export interface HandmadeSessions {
  login(userId: string): Promise<string>;
  userOf(token: string | undefined): Promise<string | null>;
}

/**
 * The least that sessions in Redis do: a JSON string under an unsigned token, read and slid by one command.
 * It cannot list or end a user's sessions, and calls Redis for every forged token.
 */
export class GetexSessions implements HandmadeSessions {
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

/**
 * The same, with a signature against forged tokens, and a list of each user's sessions to end them all. Two commands at
 * a time.
 */
export class ListedGetexSessions implements HandmadeSessions {
  readonly #redis: Redis;
  readonly #secret: string;
  readonly #ttl: number;

  constructor(url: string, secret: string, ttl: number) {
    this.#redis = new Redis(url);
    this.#secret = secret;
    this.#ttl = ttl;
  }

  async login(userId: string): Promise<string> {
    const signed = `${userId}.${randomBytes(24).toString('base64url')}`;
    await this.#redis
      .multi()
      .set(`sess:${signed}`, JSON.stringify({ userId }), 'EX', this.#ttl)
      .sadd(`user:${userId}`, signed)
      .expire(`user:${userId}`, this.#ttl)
      .exec();
    return `${signed}.${this.#signatureOf(signed).toString('base64url')}`;
  }

  async userOf(token: string | undefined): Promise<string | null> {
    const [userId, id, signature] = token?.split('.') ?? [];
    if (userId === undefined || id === undefined || signature === undefined) return null;
    const given = Buffer.from(signature, 'base64url');
    const right = this.#signatureOf(`${userId}.${id}`);
    if (given.length !== right.length || !timingSafeEqual(given, right)) return null;
    const [record] = await Promise.all([
      this.#redis.getex(`sess:${userId}.${id}`, 'EX', this.#ttl),
      this.#redis.expire(`user:${userId}`, this.#ttl),
    ]);
    return record === null ? null : (JSON.parse(record) as { userId: string }).userId;
  }

  #signatureOf(text: string): Buffer {
    return createHmac('sha256', this.#secret).update(text).digest();
  }
}
