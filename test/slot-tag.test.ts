import { Command } from 'ioredis';
import { tagInSlot } from '../src/redis/health/slot-tag';

/** Also the slot whose tag is found last. */
const SLOTS = [0, 1, 2371, 5461, 16_383];

it.each(SLOTS)('a tag of slot %s puts keys there', (slot) => {
  const tag = tagInSlot(slot);
  expect(tag).toMatch(/^health-[\da-z]{1,4}$/);
  expect(new Command('GET', [`session-token:{${tag}}`]).getSlot()).toBe(slot);
});

it('every slot of a Cluster has a tag among as many names as the search may take', () => {
  const found = new Set<number>();
  for (let i = 0; i < 88_870; i++) found.add(new Command('GET', [`{health-${i.toString(36)}}`]).getSlot());
  expect(found.size).toBe(16_384);
});
