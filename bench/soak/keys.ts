import { Command } from 'ioredis';
import type { SlotRange } from './topologies';

/** The key that a token's user has in Redis; its tag alone decides on the slot. */
export function keyOf(token: string): string {
  return `session-token:{${token.split('.', 1)[0]}}`;
}

export function slotOf(token: string): number {
  const slot = new Command('GET', [keyOf(token)]).getSlot();
  if (slot === null) throw new Error('a command with a key has a slot');
  return slot;
}

export function generationOf(token: string): number {
  return Number.parseInt(token.split('.')[2] ?? '', 36);
}

export function isIn(ranges: readonly SlotRange[] | null, slot: number): boolean {
  return ranges === null || ranges.some(([first, last]) => first <= slot && slot <= last);
}
