import { ChangeLog } from '../../src/cache/change-log';

it('a change log counts every user as changed whose last change it may have forgotten', () => {
  const changes = new ChangeLog();
  const before = changes.now;
  changes.record('ada');
  for (let i = 0; i < 10_000; i++) changes.record(`user ${i}`);
  expect(changes.hasChanged('ada', before)).toBe(true);
  const after = changes.now;
  expect(changes.hasChanged('ada', after)).toBe(false);
  changes.record('ada');
  expect([changes.hasChanged('ada', after), changes.hasChanged('user 9999', after)]).toEqual([true, false]);
});
