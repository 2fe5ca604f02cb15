import { isUnavailable } from '../../errors/session-error';

/** What was done to a user that must not be undone: sessions ended before their time, a ban set or lifted. */
export interface Revocation {
  /** Ids of sessions that ended in any case. */
  ids: readonly string[];
  /** And those that began before this moment by the clock of the Redis that ended them, in milliseconds; 0 for none. */
  before: number;
  /** But not this one; '' for no exception. */
  except: string;
  /** The user's ban as the scripts `ban` and `unban` gave it; absent where neither was done. */
  ban?: { userId: string; text: string };
}

/** The end of sessions by their ids. */
export function revocationOf(...ids: string[]): Revocation {
  return { ids, before: 0, except: '' };
}

/** A revocation as the script `revoke` takes it, after the key. */
export function revocationArguments({ before, except, ban, ids }: Revocation): (string | number)[] {
  return [before, except, ban?.userId ?? '', ban?.text ?? '', ...ids];
}

/** Where revocations are carried out. */
export interface RevocationServers {
  /** The server that holds this key now. */
  serverOf(key: string): string;
  /** Carries a revocation out once more. */
  revoke(key: string, revocation: Revocation): Promise<unknown>;
}

/** Milliseconds for which a revocation is remembered, at least, once a server has it. */
const REMEMBER_MS = 60_000;
/** Milliseconds for which a ban is repeated: servers know for an hour that one was lifted. */
const REPEAT_BAN_MS = 50 * 60_000;
/** Users whose revocations are remembered, and sessions of one user; the oldest give way. */
const MAX_USERS = 10_000;
const MAX_SESSIONS = 1000;
/** Users whose revocations are repeated at a time: neither this process nor Redis may be held up by them. */
const BATCH = 500;
/** Milliseconds between two tries, doubling from the first to the second of these. */
const RETRY_FIRST_MS = 500;
const RETRY_MAX_MS = 30_000;

interface Entry {
  /** With the time, by the monotonic clock, at which a server last got each; the newest last. */
  ids: Map<string, number>;
  before: number;
  except: string;
  ban: Revocation['ban'];
  /** When that was. */
  bannedAt: number;
  /** The server that has all of it; `null` when none is known to. */
  server: string | null;
  /** When a server last got any of it. */
  at: number;
  /** How often something was added. */
  version: number;
}

/**
 * Remembers the revocations of this process's last minute, and repeats them to a server that may not know of them: one
 * that was promoted before they had been replicated to it, or came back without its last writes. A session is named, or
 * bounded by its beginning, so that a repetition ends no later one.
 */
export class Revocations {
  readonly #servers: RevocationServers;
  /** By key; the one written last is the last. */
  readonly #entries = new Map<string, Entry>();
  #isReplaying = false;
  #isReplayWanted = false;
  #retry: NodeJS.Timeout | null = null;
  #retryMs = RETRY_FIRST_MS;

  constructor(servers: RevocationServers) {
    this.#servers = servers;
  }

  /** Remembers what a server has acknowledged; `null` when by now another server holds the key. */
  record(key: string, { ids, before, except, ban }: Revocation, server: string | null): void {
    const entry = this.#entries.get(key) ?? newEntry(server);
    // A later kick takes in what an earlier one ended: what that spared is either spared again or ended now.
    if (before > 0 && before >= entry.before) Object.assign(entry, { before, except });
    if (ban !== undefined) Object.assign(entry, { ban, bannedAt: performance.now() });
    // Who has the new part need not have the old.
    if (entry.server !== server) entry.server = null;
    entry.version++;
    this.#written(key, entry, ids);
    this.#forgetOld(entry);
    if (entry.server === null) this.replay();
  }

  /** A connection broke: what this server, or every server, had acknowledged may be lost. */
  lost(server?: string): void {
    this.#forgetAcknowledged();
    for (const entry of this.#entries.values()) {
      if (server === undefined || entry.server === server) entry.server = null;
    }
  }

  /**
   * Repeats what the servers of now may not know of. The first batch for each, which is nearly always all, is sent
   * before this returns, and so before any later call.
   */
  replay(): void {
    this.#forgetAcknowledged();
    this.#isReplayWanted = true;
    if (!this.#isReplaying) void this.#replayInBatches();
  }

  /** Forgets all that was recorded so far, and repeats none of it. */
  forget(): void {
    this.#entries.clear();
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
  }

  async #replayInBatches(): Promise<void> {
    this.#isReplaying = true;
    const failed = new Set<string>();
    while (this.#isReplayWanted) {
      this.#isReplayWanted = false;
      const repeating = [...this.#staleByServer()].map(async ([server, stale]) => {
        if (!failed.has(server) && !(await this.#repeatAll(stale))) failed.add(server);
      });
      await Promise.all(repeating);
    }
    this.#isReplaying = false;
    if (failed.size === 0) this.#retryMs = RETRY_FIRST_MS;
    else this.#replayLater();
  }

  /** What each server of now may not know of. One that doesn't answer holds up nobody else. */
  #staleByServer(): Map<string, [key: string, entry: Entry][]> {
    const stale = new Map<string, [string, Entry][]>();
    for (const [key, entry] of this.#entries) {
      const server = this.#servers.serverOf(key);
      if (entry.server === server) continue;
      const others = stale.get(server) ?? [];
      others.push([key, entry]);
      stale.set(server, others);
    }
    return stale;
  }

  /** Repeats entries in batches. `false`: stopped after a batch with an entry that has to be tried again. */
  async #repeatAll(stale: readonly (readonly [key: string, entry: Entry])[]): Promise<boolean> {
    for (let i = 0; i < stale.length; i += BATCH) {
      const batch = stale.slice(i, i + BATCH).map(([key, entry]) => this.#repeat(key, entry));
      if (!(await Promise.all(batch)).every((isDone) => isDone)) return false;
    }
    return true;
  }

  /** Whether it need not be tried again. */
  async #repeat(key: string, entry: Entry): Promise<boolean> {
    const server = this.#servers.serverOf(key);
    const { version, before, except } = entry;
    const ban = performance.now() - entry.bannedAt < REPEAT_BAN_MS ? entry.ban : undefined;
    const ids = [...entry.ids.keys()];
    try {
      await this.#servers.revoke(key, { ids, before, except, ...(ban && { ban }) });
    } catch (error) {
      entry.server = null;
      // A record that Redis calls damaged stays so.
      if (!isUnavailable(error)) this.#entries.delete(key);
      return !isUnavailable(error);
    }
    // What was added meanwhile went to a server that may be another.
    if (entry.version === version) entry.server = server;
    else this.#isReplayWanted = true;
    if (this.#entries.get(key) === entry) this.#written(key, entry, ids);
    return true;
  }

  #replayLater(): void {
    this.#retry ??= setTimeout(() => {
      this.#retry = null;
      this.replay();
    }, this.#retryMs).unref();
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MAX_MS);
  }

  #written(key: string, entry: Entry, ids: readonly string[]): void {
    entry.at = performance.now();
    for (const id of ids) {
      entry.ids.delete(id);
      entry.ids.set(id, entry.at);
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }

  #forgetOld({ ids, server }: Entry): void {
    const oldest = performance.now() - REMEMBER_MS;
    for (const [id, at] of ids) {
      const isYoung = at > oldest || server === null;
      if (isYoung && ids.size <= MAX_SESSIONS) break;
      ids.delete(id);
    }
    for (const [key, entry] of this.#entries) {
      const isYoung = entry.at > oldest || entry.server === null;
      if (isYoung && this.#entries.size <= MAX_USERS) break;
      this.#entries.delete(key);
    }
  }

  /**
   * What a server has had for long is not repeated, whatever becomes of that server: others may have changed it since.
   */
  #forgetAcknowledged(): void {
    const oldest = performance.now() - REMEMBER_MS;
    for (const [key, entry] of this.#entries) {
      if (entry.at <= oldest && entry.server !== null) this.#entries.delete(key);
    }
  }
}

function newEntry(server: string | null): Entry {
  return { ids: new Map(), before: 0, except: '', ban: undefined, bannedAt: 0, server, at: 0, version: 0 };
}
