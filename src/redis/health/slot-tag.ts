/** Slots of a Redis Cluster. */
const SLOTS = 16_384;

const POLYNOMIAL = 0x1021;

/**
 * A tag of no user whose keys are in this slot. Each slot has one among the first 88,870 names, which takes some ten
 * milliseconds to find at worst.
 */
export function tagInSlot(slot: number): string {
  for (let i = 0; ; i++) {
    const tag = `health-${i.toString(36)}`;
    if (slotOf(tag) === slot) return tag;
  }
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
