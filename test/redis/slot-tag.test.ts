import { Command } from 'ioredis';
import { tagInSlots } from '../../src/redis/health/slot-tag';

/** Also the slot whose tag is found last. */
const SLOTS = [0, 1, 2371, 5461, 16_383];

const slotWith = (tag: string | null) => new Command('GET', [`session-token:{${tag}}`]).getSlot();

it.each(SLOTS)('a tag of slot %s alone puts keys there', (slot) => {
  const tag = tagInSlots((other) => other === slot);
  expect(tag).toMatch(/^health-[\da-z]{1,4}$/);
  expect(slotWith(tag)).toBe(slot);
});

it('a tag in a third of the slots is found at once, so that a health check of an ordinary Cluster blocks nothing', () => {
  for (const third of [0, 1, 2]) {
    const isOne = jest.fn((slot: number) => Math.floor(slot / 5462) === third);
    expect(isOne(slotWith(tagInSlots(isOne)))).toBe(true);
    expect(isOne.mock.calls.length).toBeLessThan(50);
  }
});

it('without slots there is no tag', () => {
  expect(tagInSlots(() => false)).toBeNull();
});

it('every slot of a Cluster has a tag among as many names as the search may take', () => {
  const found = new Set<number>();
  for (let i = 0; i < 88_870; i++) found.add(new Command('GET', [`{health-${i.toString(36)}}`]).getSlot());
  expect(found.size).toBe(16_384);
});
