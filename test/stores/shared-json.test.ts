import { SharedJson } from '../../src/store/shared-json';

describe('shared JSON', () => {
  it('is parsed once', () => {
    const json = new SharedJson('{"a":[1,{"b":null}]}');
    expect(json.value).toEqual({ a: [1, { b: null }] });
    expect(json.value).toBe(json.value);
  });

  it('is frozen at every level, under every key', () => {
    const { value } = new SharedJson('{"a":[[{}]],"__proto__":{"b":{}},"":{}}');
    const levels = [value];
    for (const level of levels) levels.push(...Object.values(level as object));
    expect(levels).toHaveLength(7);
    for (const level of levels) expect(Object.isFrozen(level)).toBe(true);
  });

  it.each(['0', '""', 'false', 'null', '[]'])('may be any value: %s', (text) => {
    expect(new SharedJson(text).value).toEqual(JSON.parse(text));
  });

  it('is undefined for invalid JSON, each time', () => {
    const json = new SharedJson('{');
    expect([json.value, json.value]).toEqual([undefined, undefined]);
  });

  it('may be nested as deep as JSON.parse allows', () => {
    const depth = 100_000;
    expect(Object.isFrozen(new SharedJson('['.repeat(depth) + ']'.repeat(depth)).value)).toBe(true);
  });
});
