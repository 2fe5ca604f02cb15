import { Redis } from 'ioredis';

/** What {@link plainReads} sends for each read. */
export type PlainCommands = 'HMGET + GET' | 'HGETEX + GETEX' | 'HGETEX';

/**
 * Reads what a check reads, by plain commands in one write: no script, signature or judgement. HMGET and GET are also
 * answered by a replica. HGETEX (Redis 8.0, Valkey 9.0) and GETEX are not. HGETEX alone would be enough if the user info
 * were a field of the same hash.
 *
 * @returns a function that finds the user of a session.
 */
export function plainReads(
  url: string,
  tokens: readonly string[],
  commands: PlainCommands,
): (index: number) => Promise<string | undefined> {
  const redis = new Redis(url, { enableAutoPipelining: true });
  const fieldsOf = (sid: string) => ['v', 'id', sid, `${sid}.a`];
  return async (index) => {
    const [tag = '', sid = ''] = (tokens[index] as string).split('.');
    const [sessions, userInfo] = [`session-token:{${tag}}`, `session-user:{${tag}}`];
    let answers: Promise<unknown>[];
    switch (commands) {
      case 'HMGET + GET':
        answers = [redis.hmget(sessions, ...fieldsOf(sid)), redis.get(userInfo)];
        break;
      case 'HGETEX + GETEX':
        answers = [redis.call('HGETEX', sessions, 'FIELDS', 4, ...fieldsOf(sid)), redis.getex(userInfo)];
        break;
      case 'HGETEX':
        answers = [redis.call('HGETEX', sessions, 'FIELDS', 5, ...fieldsOf(sid), 'info')];
    }
    const [[, userId]] = (await Promise.all(answers)) as [[string, string]];
    return userId;
  };
}
