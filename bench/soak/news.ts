/** A token whose login was acknowledged, and its user. */
export type DealtToken = readonly [token: string, userId: string];

/** News of a worker's users for the others. */
export interface News {
  /** When it was sent. */
  at: number;
  loggedIn: readonly DealtToken[];
  /** Tokens that clients have changed to. */
  rotated: readonly string[];
  /** Tokens whose sessions have ended. */
  ended: readonly string[];
}

/** Receives the news of a worker's users. */
export interface Announce {
  loggedIn(token: DealtToken): void;
  rotated(token: string): void;
  ended(token: string): void;
}
