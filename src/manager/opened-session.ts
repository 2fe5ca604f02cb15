import { expiryOf, type SessionEntries, type SessionRecord, type StoredSession } from '../store/store';
import { readClaims } from '../token/token';
import type { User } from './types';

/** What the store or the near cache gave of a session. */
type FoundSession = Pick<StoredSession, 'session' | 'now'> &
  Partial<Pick<OpenedSession<unknown>, 'data' | 'isFromMemory'>>;

/** A live session of a request, a user's or a visitor's. Its Dates are made on demand, since most requests use none. */
export class OpenedSession<Detail> {
  readonly token: string;
  /** `null` for a visitor. */
  readonly user: User<Detail> | null;
  /** Whether the near cache answered, and the store has not confirmed it since. */
  isFromMemory: boolean;
  /** The session's data at that time; `null` when it was not asked for, or may have changed since. */
  data: SessionEntries | null;
  readonly #record: SessionRecord;
  readonly #now: number;

  constructor(token: string, user: User<Detail> | null, { session, now, data, isFromMemory }: FoundSession) {
    this.token = token;
    this.data = data ?? null;
    this.user = user;
    this.isFromMemory = isFromMemory ?? false;
    this.#record = session;
    this.#now = now;
  }

  get id(): string {
    return this.#record.sid;
  }

  get createdAt(): Date {
    return new Date(this.#record.createdAt);
  }

  /** When the holder of this very token last proved who they are. */
  get authenticatedAt(): Date {
    return new Date(readClaims(this.token)?.provedAt ?? 0);
  }

  get expiresAt(): Date {
    return new Date(expiryOf(this.#record));
  }

  get checkedAt(): Date {
    return new Date(this.#now);
  }

  /** Who acts as the user; `null` for the user. */
  get actor(): string | null {
    return this.#record.attributes.actor ?? null;
  }

  /** When the session ends, however busy it is, in milliseconds by the store's clock; 0 for never. */
  get capAt(): number {
    return this.#record.capAt;
  }

  /** The newest used generation of the session's tokens, when the store was asked. */
  get newestGen(): number {
    return this.#record.gen;
  }

  /** The same with a token that was just made: its moment is the store's clock now. */
  withToken(token: string): OpenedSession<Detail> {
    const { data, isFromMemory } = this;
    const now = readClaims(token)?.mintedAt ?? this.#now;
    return new OpenedSession(token, this.user, { session: this.#record, now, data, isFromMemory });
  }
}
