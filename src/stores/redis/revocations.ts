import { isUnavailable } from '../../core/errors';

/** Sessions of one user that ended before their time. */
export interface Revocation {
  /** These, in any case. */
  sids: readonly string[];
  /** And those that began before this moment by the clock of the Redis that ended them, in milliseconds; 0 for none. */
  before: number;
  /** But not this one; '' for no exception. */
  except: string;
}

/** A revocation as the script `revoke` takes it, after the key. */
export function revocationArguments({ before, except, sids }: Revocation): (string | number)[] {
  return [before, except, ...sids];
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
/** Users whose revocations are remembered; the oldest give way. */
const MAX_USERS = 10_000;
const RETRY_MS = 500;

interface Entry {
  /** With the time, by the monotonic clock, at which a server last got each; the newest last. */
  sids: Map<string, number>;
  before: number;
  except: string;
  /** The server that has it; `null` when that server was lost. */
  server: string | null;
  /** When a server last got any of it. */
  at: number;
  isReplaying: boolean;
}

/**
 * Remembers the revocations of this process's last minute, and repeats them to a server that may not know of them: one that was promoted
 * before they had been replicated to it, or came back without its last writes. A session is named, or bounded by its beginning, so that
 * a repetition ends no later one.
 */
export class Revocations {
  readonly #servers: RevocationServers;
  /** By key; the one written last is the last. */
  readonly #entries = new Map<string, Entry>();
  #retry: NodeJS.Timeout | null = null;

  constructor(servers: RevocationServers) {
    this.#servers = servers;
  }

  /** Remembers what a server has just acknowledged. */
  record(key: string, { sids, before, except }: Revocation): void {
    const entry = this.#entries.get(key) ?? this.#newEntry();
    // A later kick takes in what an earlier one ended: what that spared is either spared again or ended now.
    if (before > 0 && before >= entry.before) Object.assign(entry, { before, except });
    if (!entry.isReplaying) entry.server = this.#servers.serverOf(key);
    this.#written(key, entry, sids);
    this.#forgetOld(entry);
  }

  /** A connection broke: what this server, or every server, had acknowledged may be lost. */
  lost(server?: string): void {
    for (const entry of this.#entries.values()) {
      if (server === undefined || entry.server === server) entry.server = null;
    }
  }

  /** Repeats what the servers of now may not know of. All is sent before this returns, and so before any later call. */
  replay(): void {
    for (const [key, entry] of this.#entries) {
      if (!entry.isReplaying && entry.server !== this.#servers.serverOf(key)) void this.#repeat(key, entry);
    }
  }

  /** Forgets all, and repeats nothing more. */
  close(): void {
    this.#entries.clear();
    if (this.#retry !== null) clearTimeout(this.#retry);
  }

  async #repeat(key: string, entry: Entry): Promise<void> {
    const server = this.#servers.serverOf(key);
    const { sids, before, except } = entry;
    entry.isReplaying = true;
    try {
      await this.#servers.revoke(key, { sids: [...sids.keys()], before, except });
      entry.server = server;
      if (this.#entries.get(key) === entry) this.#written(key, entry, [...sids.keys()]);
    } catch (error) {
      // A record that Redis calls damaged stays so.
      if (!isUnavailable(error)) this.#entries.delete(key);
      else {
        entry.server = null;
        this.#replayLater();
      }
    } finally {
      entry.isReplaying = false;
    }
  }

  #replayLater(): void {
    this.#retry ??= setTimeout(() => {
      this.#retry = null;
      this.replay();
    }, RETRY_MS).unref();
  }

  #newEntry(): Entry {
    return { sids: new Map(), before: 0, except: '', server: null, at: 0, isReplaying: false };
  }

  #written(key: string, entry: Entry, sids: readonly string[]): void {
    entry.at = performance.now();
    for (const sid of sids) {
      entry.sids.delete(sid);
      entry.sids.set(sid, entry.at);
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
  }

  #forgetOld({ sids, server }: Entry): void {
    const oldest = performance.now() - REMEMBER_MS;
    for (const [sid, at] of sids) {
      if (at > oldest || server === null) break;
      sids.delete(sid);
    }
    for (const [key, entry] of this.#entries) {
      const isYoung = entry.at > oldest || entry.server === null;
      if (isYoung && this.#entries.size <= MAX_USERS) break;
      this.#entries.delete(key);
    }
  }
}
