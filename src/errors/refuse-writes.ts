/**
 * Makes every assignment to an instance throw, in sloppy mode too, where a frozen object would ignore it. A setter of
 * the class stays. A proxy at the end of the prototype chain sees the unknown names only, and so costs known ones
 * nothing. A subclass shares that of its base.
 */
export function refuseWrites(prototype: object, refusal: (name: string) => TypeError): void {
  for (const key of Reflect.ownKeys(prototype)) {
    const { get, set, value } = Object.getOwnPropertyDescriptor(prototype, key) as PropertyDescriptor;
    Object.defineProperty(prototype, key, {
      get: get ?? (() => value),
      set:
        set ??
        (() => {
          throw refusal(String(key));
        }),
    });
  }
  if (Object.getPrototypeOf(prototype) !== Object.prototype) return;
  const end = new Proxy(
    {},
    {
      set(_target, key) {
        throw refusal(String(key));
      },
    },
  );
  Object.setPrototypeOf(prototype, end);
}
