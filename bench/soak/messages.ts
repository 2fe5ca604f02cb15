import type { ClusterSettings, Durability, SentinelSettings } from 'tokensession';
import type { ForeignEntry, SessionEntry, UserEntry } from './book';
import type { CachePromise, CacheRecord } from './cache-diary';
import type { News } from './news';
import type { Tally } from './tally';
import type { VisitEntry } from './visits';
import type { WaitSummary } from './waits';

/** The task of a worker. */
export interface Orders {
  /** The prefix of its users' ids: no other worker writes to them. */
  name: string;
  target: SentinelSettings | ClusterSettings;
  /** The password of the servers, until a message brings a new one. */
  password: string;
  secret: string;
  timeoutMs: number;
  durability: Durability | null;
  /** `null`: every check calls Redis. */
  cache: CachePromise | null;
  /** Seconds for which a former token stays valid. */
  rotationGrace: number;
  users: number;
  operationsPerSecond: number;
  /** After this many milliseconds it stops by itself, even without its parent. */
  maxMs: number;
}

export type ToWorker =
  | { tell: 'begin'; orders: Orders }
  | { tell: 'news'; news: News }
  | { tell: 'password'; password: string }
  /** Block the event loop for this long. */
  | { tell: 'block'; ms: number }
  /** Stop the load, and send the record. */
  | { tell: 'drain' }
  /** Close the manager and end. */
  | { tell: 'close' };

export type ToParent =
  | { tell: 'ready' }
  | { tell: 'news'; news: News }
  | { tell: 'unblocked' }
  | { tell: 'record'; record: WorkerRecord }
  | { tell: 'closed'; crashes: string[]; isCacheUp: boolean };

/** A session that a worker's manager ended because its former token was used. */
export interface FoundReuse {
  sessionId: string;
  at: number;
}

/** The whole record of a worker. */
export interface WorkerRecord {
  name: string;
  isDurable: boolean;
  sessions: SessionEntry[];
  users: UserEntry[];
  foreign: ForeignEntry[];
  visits: VisitEntry[];
  /** Answers that belonged to another user than the token's. */
  mixUps: string[];
  /** Rejections other than a SessionError with status 503. */
  unexpected: string[];
  reuses: FoundReuse[];
  /** Unhandled rejections, uncaught exceptions and warnings of the process. */
  crashes: string[];
  tally: Tally;
  waits: WaitSummary;
  /** `null` for a worker without a near cache. */
  cache: CacheRecord | null;
  memory: { rssBefore: number; rssAfter: number; heapBefore: number; heapAfter: number };
  /** Open TCP connections after the load had run for a while, and at its end. */
  sockets: { before: number; after: number };
}
