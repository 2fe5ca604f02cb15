import { SharedUser } from '../../src/store/shared-user';

describe('a user shared by callers', () => {
  const userWith = (userInfo: string | null) => new SharedUser('ada', { userInfo, userInfoVersion: 1, now: 2 });
  const detailOf = (info: string) => userWith(info).value.detail;

  it('is made once', () => {
    const user = userWith('{"a":[1,{"b":null}]}');
    expect(user.value).toEqual({ id: 'ada', detail: { a: [1, { b: null }] } });
    expect(user.value).toBe(user.value);
  });

  it('is frozen at every level, under every key', () => {
    const { value } = userWith('{"a":[[{}]],"__proto__":{"b":{}},"":{}}');
    const levels: unknown[] = [value.detail];
    for (const level of levels) levels.push(...Object.values(level as object));
    expect(levels).toHaveLength(7);
    for (const level of [value, ...levels]) expect(Object.isFrozen(level)).toBe(true);
  });

  it.each(['0', '""', 'false', '[]'])('may have any info: %s', (info) => {
    expect(detailOf(info)).toEqual(JSON.parse(info));
  });

  it.each([null, 'null', '{'])('has no detail without info that can be read: %s', (info) => {
    expect(userWith(info).value).toStrictEqual({ id: 'ada' });
  });

  it('may have info nested as deep as JSON.parse allows', () => {
    const depth = 100_000;
    expect(Object.isFrozen(detailOf('['.repeat(depth) + ']'.repeat(depth)))).toBe(true);
  });
});
