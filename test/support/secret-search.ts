/** Characters of a secret that must not be visible in a row: 96 bits of a base64 text. */
const PIECE = 16;

/**
 * Finds secrets in texts: any 16 consecutive characters, in clear, base64, hex, percent-encoding or a list of bytes,
 * ignoring case.
 */
export class SecretSearch {
  /** Names of the secrets, by each piece of each encoding. */
  readonly #pieces = new Map<string, string>();

  constructor(secrets: Readonly<Record<string, string>>) {
    for (const [name, secret] of Object.entries(secrets)) {
      if (secret.length < PIECE) throw new RangeError(`${name} is too short to be looked for`);
      for (const form of formsOf(secret)) {
        for (let i = 0; i + PIECE <= form.length; i++) this.#pieces.set(form.slice(i, i + PIECE).toLowerCase(), name);
      }
    }
  }

  /** The names of the secrets that appear in part in a text. */
  namesIn(text: string): string[] {
    const names = new Set<string>();
    for (const reading of readingsOf(text)) {
      const lower = reading.toLowerCase();
      for (let i = 0; i + PIECE <= lower.length; i++) {
        const name = this.#pieces.get(lower.slice(i, i + PIECE));
        if (name !== undefined) names.add(name);
      }
    }
    return [...names];
  }
}

function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [
    secret,
    JSON.stringify(secret).slice(1, -1),
    encodeURIComponent(secret),
    bytes.toString('hex'),
    ...[0, 1, 2].flatMap((before) => base64Behind(bytes, before)),
  ];
}

/** The base64 of bytes at an offset, without the characters that also depend on the bytes before or after. */
function base64Behind(bytes: Buffer, before: number): string[] {
  const all = Buffer.concat([Buffer.alloc(before), bytes]);
  const own = (text: string) => text.slice(Math.ceil((before * 8) / 6), Math.floor((all.length * 8) / 6));
  return [own(all.toString('base64')), own(all.toString('base64url'))];
}

/** A text, and the bytes that it lists, decoded: `<Buffer 61 62>`, `[97, 98]`. */
function readingsOf(text: string): string[] {
  const hex = [...text.matchAll(/\b[0-9a-f]{2}(?: [0-9a-f]{2}\b){15,}/gi)].map(([run]) => run.replaceAll(' ', ''));
  const lists = [...text.matchAll(/\b\d{1,3}(?:,\s*\d{1,3}\b){15,}/g)];
  const decimal = lists.map(([run]) => Buffer.from(run.split(',').map(Number)).toString('latin1'));
  return [text, ...hex, ...decimal];
}
