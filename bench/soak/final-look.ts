import { RedisStore, type RedisTarget, TokenManager } from 'tokensession';
import type { WorkerRecord } from './messages';

/** What the servers say when all is over. */
export interface FinalLook {
  alive: ReadonlySet<string>;
  /** Sessions that no book knows, by user. */
  strangers: ReadonlyMap<string, readonly { id: string; createdAt: number }[]>;
  mixUps: string[];
  /** Answers that contradict each other. */
  contradictions: string[];
}

const TIMEOUT_MS = 3000;
const CONCURRENCY = 32;

/** Asks for every session and every user of the books, through a manager that hasn't seen any of what happened. */
export async function lookAtAll(
  target: RedisTarget,
  secret: string,
  records: readonly WorkerRecord[],
): Promise<FinalLook> {
  const manager = new TokenManager({ store: new RedisStore(target, { timeoutMs: TIMEOUT_MS }), secret });
  const alive = new Set<string>();
  const strangers = new Map<string, { id: string; createdAt: number }[]>();
  const mixUps: string[] = [];
  const contradictions: string[] = [];
  try {
    const sessions = records.flatMap((record) => record.sessions);
    await eachOf(sessions, async ({ token, userId, device }) => {
      const session = await manager.checkToken(token);
      if (session === null) return;
      alive.add(token);
      if (session.user.id !== userId || session.attributes.device !== device) {
        mixUps.push(`in the end ${device} was ${session.user.id} (${session.attributes.device})`);
      }
    });
    const known = new Set(sessions.map(({ token }) => token));
    const listed = new Set<string>();
    const users = records.flatMap((record) => record.users);
    await eachOf(users, async ({ id }) => {
      const tokens = await manager.listUserToken(id);
      for (const token of tokens) {
        listed.add(token);
        if (known.has(token) && !alive.has(token)) contradictions.push(`${id}: listed, but not live by a check`);
      }
      const unknown = new Set(tokens.filter((token) => !known.has(token)).map((token) => token.split('.')[1]));
      if (unknown.size === 0) return;
      const infos = await manager.listUserSessions(id);
      strangers.set(
        id,
        infos.filter((info) => unknown.has(info.id)).map((info) => ({ id: info.id, createdAt: +info.createdAt })),
      );
    });
    for (const token of alive) if (!listed.has(token)) contradictions.push(`live by a check, but not listed: ${token}`);
  } finally {
    await manager.close();
  }
  return { alive, strangers, mixUps, contradictions };
}

async function eachOf<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const left = items.values();
  const run = async () => {
    for (const item of left) await work(item);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, run));
}
