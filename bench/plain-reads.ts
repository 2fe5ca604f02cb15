import { Redis } from 'ioredis';

/**
 * Reads what a check reads, by plain commands in one write: no script, signature or judgement. A replica would answer,
 * too.
 *
 * @returns a function that finds the user of a session.
 */
export function plainReads(url: string, tokens: readonly string[]): (index: number) => Promise<string | undefined> {
  const redis = new Redis(url, { enableAutoPipelining: true });
  return async (index) => {
    const [tag, sid] = (tokens[index] as string).split('.');
    const session = redis.hmget(`session-token:{${tag}}`, 'v', 'id', `${sid}`, `${sid}.a`);
    const userInfo = redis.get(`session-user:{${tag}}`);
    const [[, userId]] = await Promise.all([session, userInfo]);
    return userId ?? undefined;
  };
}
