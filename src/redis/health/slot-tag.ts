/** Slots of a Redis Cluster. */
const SLOTS = 16_384;

const POLYNOMIAL = 0x1021;

/** Names to try: each slot has one of them. */
const NAMES = 88_870;

/**
 * A tag of no user whose keys are in one of these slots; `null` when there are no slots. It takes some ten milliseconds
 * to find at worst: for a single slot.
 */
export function tagInSlots(isOne: (slot: number) => boolean): string | null {
  for (let i = 0; i < NAMES; i++) {
    const tag = `health-${i.toString(36)}`;
    if (isOne(slotOf(tag))) return tag;
  }
  return null;
}

/** The slot of an ASCII hash tag, as the Redis Cluster specification defines it: its CRC16 (XMODEM). */
function slotOf(tag: string): number {
  let crc = 0;
  for (let i = 0; i < tag.length; i++) {
    crc ^= tag.charCodeAt(i) << 8;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ POLYNOMIAL;
  }
  return crc & (SLOTS - 1);
}
