import { RedisStore, type RedisTarget, TokenManager } from 'tokensession';
import { idOf } from '../../test/support/session-id';
import type { WorkerRecord } from './messages';

/** The state of the servers at the end. */
export interface FinalLook {
  /** Ids of sessions. */
  alive: ReadonlySet<string>;
  /** The tokens of those, by id. */
  data: ReadonlyMap<string, Readonly<Record<string, unknown>>>;
  /** Ids of visitors' sessions that have data. */
  visits: ReadonlySet<string>;
  /** Sessions that are in no book, by user. */
  strangers: ReadonlyMap<string, readonly { id: string; createdAt: number }[]>;
  mixUps: string[];
  /** Contradictory replies. */
  contradictions: string[];
}

const TIMEOUT_MS = 3000;
const CONCURRENCY = 32;

/** Queries every session and every user in the books, through a new manager. */
export async function lookAtAll(
  { target, secret, rotationGrace }: { target: RedisTarget; secret: string; rotationGrace: number },
  records: readonly WorkerRecord[],
): Promise<FinalLook> {
  const manager = new TokenManager({
    store: new RedisStore(target, { timeoutMs: TIMEOUT_MS }),
    secret,
    rotationGrace,
  });
  const alive = new Set<string>();
  const data = new Map<string, Readonly<Record<string, unknown>>>();
  const visits = new Set<string>();
  const strangers = new Map<string, { id: string; createdAt: number }[]>();
  const mixUps: string[] = [];
  const contradictions: string[] = [];
  try {
    const sessions = records.flatMap((record) => record.sessions);
    await eachOf(sessions, async ({ id, token, userId, device }) => {
      const session = await manager.checkToken(token);
      const values = await manager.sessionData(token).getAll();
      if (session === null) {
        if (Object.keys(values).length > 0) contradictions.push(`${device}: not live, but its data is given`);
        return;
      }
      alive.add(id);
      data.set(id, values);
      if (session.user.id !== userId || session.attributes.device !== device) {
        mixUps.push(`in the end ${device} was ${session.user.id} (${session.attributes.device})`);
      }
    });
    const visitors = records.flatMap((record) => record.visits.map(({ token }) => token));
    await eachOf(visitors, async (token) => {
      if (Object.keys(await manager.sessionData(token).getAll()).length > 0) visits.add(idOf(token));
    });
    const known = new Set(sessions.map(({ id }) => id));
    const listed = new Set<string>();
    const users = records.flatMap((record) => record.users);
    await eachOf(users, async ({ id }) => {
      const ids = (await manager.listUserToken(id)).map(idOf);
      for (const sessionId of ids) {
        listed.add(sessionId);
        if (known.has(sessionId) && !alive.has(sessionId))
          contradictions.push(`${id}: listed, but not live by a check`);
      }
      const unknown = new Set(ids.filter((sessionId) => !known.has(sessionId)));
      if (unknown.size === 0) return;
      const infos = await manager.listUserSessions(id);
      strangers.set(
        id,
        infos.filter((info) => unknown.has(info.id)).map((info) => ({ id: info.id, createdAt: +info.createdAt })),
      );
    });
    for (const id of alive) if (!listed.has(id)) contradictions.push(`live by a check, but not listed: ${id}`);
  } finally {
    await manager.close();
  }
  return { alive, data, visits, strangers, mixUps, contradictions };
}

async function eachOf<Item>(items: readonly Item[], work: (item: Item) => Promise<void>): Promise<void> {
  const left = items.values();
  const run = async () => {
    for (const item of left) await work(item);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, run));
}
