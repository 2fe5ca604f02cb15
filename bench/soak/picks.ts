import type { Account, Page } from './book';

/** The number of ended sessions that are checked: the latest, which a mistake would revive first. */
export const RECENT = 5;

/** A random item; `undefined` when there is none. */
export function pick<Item>(items: readonly Item[]): Item | undefined {
  return items[Math.floor(Math.random() * items.length)];
}

/** The sessions of a user that no call may have ended. */
export function liveOf({ open }: Account): Page[] {
  return open.filter(({ fate }) => fate === 'live');
}

/** Mostly a session that should be live, often one that has just ended, sometimes one that ended long ago. */
export function pickPage({ open, ended }: Account): Page | undefined {
  const chance = Math.random();
  if (chance < 0.6 || ended.length === 0) return pick(open) ?? pick(ended);
  return chance < 0.9 ? pick(ended.slice(-RECENT)) : pick(ended);
}
