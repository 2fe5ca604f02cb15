import { isUnavailable } from '../../errors/session-error';
import { flat } from '../../token/token';

/** The end of a session. A later one may have the same id: it began after this moment, by the clock of that Redis. */
export interface SessionEnd {
  sid: string;
  moment: number;
}

/** A change of a user that must not be undone: sessions ended before their time, a ban set or lifted. */
export interface Revocation {
  /** Sessions that ended in any case. Default: none. */
  ends?: readonly SessionEnd[];
  /**
   * Ends also sessions that began before this moment, in milliseconds by the clock of the Redis that ended them.
   * Default: 0, none.
   */
  before?: number;
  /** Keeps this session. Default: '', no exception. */
  except?: string;
  /** The user's ban, in the form of the scripts `ban` and `unban`; absent when neither ran. */
  ban?: { userId: string; text: string };
}

/** The arguments of the script `revoke`, after the key. */
export function revocationArguments({ ends = [], before = 0, except = '', ban }: Revocation): (string | number)[] {
  return [before, except, ban?.userId ?? '', ban?.text ?? '', ...ends.flatMap(({ sid, moment }) => [sid, moment])];
}

interface RevocationServers {
  serverOf(key: string): string;
  revoke(key: string, revocation: Revocation): Promise<unknown>;
}

/** Milliseconds for which a revocation is remembered, at least, after a server has it. */
const REMEMBER_MS = 60_000;
/** Users whose revocations are remembered, and sessions of one user. Beyond that, the oldest are forgotten. */
const MAX_USERS = 10_000;
const MAX_SESSIONS = 1000;
/** Users whose revocations are repeated at a time, so that neither this process nor Redis is held up. */
const BATCH = 500;
/**
 * Milliseconds between two tries, which begin with few users. A server that refuses all calls, as a new master without
 * replicas may, serves ended sessions from its first answer to the next try.
 */
const RETRY_MS = 500;
const RETRY_BATCH = 10;

interface Entry {
  /**
   * By session id, its latest end, with the time, by the monotonic clock, at which a server last got one; the newest
   * last.
   */
  ends: Map<string, { moment: number; at: number }>;
  before: number;
  except: string;
  ban: Revocation['ban'];
  /** When a server last got `before` or `ban`. */
  userAt: number;
  /** The server that has all of it; `null` for none. */
  server: string | null;
  /** Counts the additions. */
  version: number;
}

type Stale = readonly [key: string, entry: Entry];

/**
 * Remembers this process's revocations of the last minute, and repeats them to a server that may lack them: one that
 * was promoted before it had them, or that came back without its last writes. A revocation names a session or bounds
 * its beginning, so that a repetition ends no later one. Only a ban ends those, on a server that lacked it.
 */
export class Revocations {
  readonly #servers: RevocationServers;
  /** By key, in order of writing. */
  readonly #entries = new Map<string, Entry>();
  /** The servers that a replay is in flight to, and whether another is wanted after it. */
  readonly #replays = new Map<string, { isWantedAgain: boolean }>();
  #retry: NodeJS.Timeout | null = null;

  constructor(servers: RevocationServers) {
    this.#servers = servers;
  }

  /** Remembers a revocation that a server has acknowledged; `null` when another server holds the key by now. */
  record(key: string, { ends = [], before = 0, except = '', ban }: Revocation, server: string | null): void {
    const entry = this.#entries.get(key) ?? newEntry(server);
    forgetOldParts(entry, performance.now() - REMEMBER_MS);
    if (before > 0 || ban !== undefined) entry.userAt = performance.now();
    const ended = [...ends];
    // A later kick includes an earlier one: it keeps the same exception, or ends that session, too.
    if (before >= entry.before) Object.assign(entry, { before, except: flat(except) });
    // The clock was set back in between: what the earlier kick kept, this one has ended.
    else if (before > 0 && ![except, ''].includes(entry.except)) ended.push({ sid: entry.except, moment: before - 1 });
    if (ban !== undefined) entry.ban = ban;
    // A server with the new part may lack the old one.
    if (entry.server !== server) entry.server = null;
    entry.version++;
    this.#written(
      key,
      entry,
      ended.map(({ sid, moment }) => ({ sid: flat(sid), moment })),
    );
    this.#forgetOldest(entry);
    if (entry.server === null) this.replay();
  }

  /** A connection broke: this server, or each, may have lost what it acknowledged. */
  lost(server?: string): void {
    this.#forgetAcknowledged();
    for (const entry of this.#entries.values()) {
      if (server === undefined || entry.server === server) entry.server = null;
    }
  }

  /**
   * Repeats revocations that the current servers may lack. The first batch for each server, nearly always all, is sent
   * before this returns, and so before any later call.
   */
  replay(): void {
    this.#replay(BATCH);
  }

  forget(): void {
    this.#entries.clear();
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
  }

  /**
   * A server that doesn't answer delays no other.
   *
   * @param firstBatch how many users' revocations go to each server at first.
   */
  #replay(firstBatch: number): void {
    this.#forgetAcknowledged();
    for (const [server, stale] of this.#staleByServer()) {
      const inFlight = this.#replays.get(server);
      if (inFlight === undefined) void this.#replayTo(server, stale, firstBatch);
      else inFlight.isWantedAgain = true;
    }
  }

  async #replayTo(server: string, stale: Stale[], firstBatch: number): Promise<void> {
    const replay = { isWantedAgain: false };
    this.#replays.set(server, replay);
    const areDone = await this.#repeatAll(stale, firstBatch);
    this.#replays.delete(server);
    if (!areDone) this.#replayLater();
    else if (replay.isWantedAgain) this.#replay(BATCH);
  }

  /** The revocations that each current server may lack. */
  #staleByServer(): Map<string, Stale[]> {
    const stale = new Map<string, Stale[]>();
    for (const [key, entry] of this.#entries) {
      const server = this.#servers.serverOf(key);
      if (entry.server === server) continue;
      const others = stale.get(server) ?? [];
      others.push([key, entry]);
      stale.set(server, others);
    }
    return stale;
  }

  /** Repeats entries in batches, up to one that is all refused. `false`: some are to be tried again. */
  async #repeatAll(stale: readonly Stale[], firstBatch: number): Promise<boolean> {
    let areDone = true;
    let size = firstBatch;
    for (let i = 0; i < stale.length; i += size, size = BATCH) {
      const batch = await Promise.all(stale.slice(i, i + size).map(([key, entry]) => this.#repeat(key, entry)));
      if (!batch.includes(true)) return false;
      areDone &&= !batch.includes(false);
    }
    return areDone;
  }

  /** Whether the entry is done. */
  async #repeat(key: string, entry: Entry): Promise<boolean> {
    if (this.#entries.get(key) !== entry) return true;
    const server = this.#servers.serverOf(key);
    const { version, before, except, ban } = entry;
    const ends = [...entry.ends].map(([sid, { moment }]) => ({ sid, moment }));
    try {
      await this.#servers.revoke(key, { ends, before, except, ...(ban && { ban }) });
    } catch (error) {
      entry.server = null;
      // A damaged record stays damaged.
      if (!isUnavailable(error)) this.#entries.delete(key);
      return !isUnavailable(error);
    }
    // An addition meanwhile may have gone to another server: record() wants another replay then.
    if (entry.version === version) entry.server = server;
    entry.userAt = performance.now();
    if (this.#entries.get(key) === entry) this.#written(key, entry, ends);
    return true;
  }

  #replayLater(): void {
    this.#retry ??= setTimeout(() => {
      this.#retry = null;
      this.#replay(RETRY_BATCH);
    }, RETRY_MS).unref();
  }

  #written(key: string, entry: Entry, ends: readonly SessionEnd[]): void {
    const at = performance.now();
    for (const { sid, moment } of ends) {
      const known = entry.ends.get(sid)?.moment ?? moment;
      entry.ends.delete(sid);
      entry.ends.set(sid, { moment: Math.max(known, moment), at });
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }

  #forgetOldest({ ends }: Entry): void {
    const oldest = performance.now() - REMEMBER_MS;
    for (const sid of ends.keys()) {
      if (ends.size <= MAX_SESSIONS) break;
      ends.delete(sid);
    }
    for (const [key, entry] of this.#entries) {
      forgetOldParts(entry, oldest);
      if (!isEmpty(entry) && this.#entries.size <= MAX_USERS) break;
      this.#entries.delete(key);
    }
  }

  /** A revocation that a server got long ago is not repeated: others may have changed its effect since. */
  #forgetAcknowledged(): void {
    const oldest = performance.now() - REMEMBER_MS;
    for (const [key, entry] of this.#entries) {
      forgetOldParts(entry, oldest);
      if (isEmpty(entry)) this.#entries.delete(key);
    }
  }
}

/** Forgets the parts that a server got long ago: later ones may keep the entry young. */
function forgetOldParts(entry: Entry, oldest: number): void {
  if (entry.server === null) return;
  if (entry.userAt <= oldest) Object.assign(entry, { before: 0, except: '', ban: undefined });
  for (const [sid, { at }] of entry.ends) {
    if (at > oldest) break;
    entry.ends.delete(sid);
  }
}

function isEmpty({ ends, before, ban }: Entry): boolean {
  return ends.size === 0 && before === 0 && ban === undefined;
}

function newEntry(server: string | null): Entry {
  const none = { ends: new Map(), before: 0, except: '', ban: undefined };
  return { ...none, userAt: 0, server, version: 0 };
}
