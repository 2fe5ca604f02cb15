import type { TokenClaims } from '../token/token';
import type { SessionRecord } from './store';

/** How a token relates to the record of its live session: see the table at `Store`. */
type Judgement = 'new' | 'known' | 'reuse';

/** Judges a token by the record of its live session. The scripts of RedisStore do the same before they write. */
export function judge({ gen, mintedAt }: TokenClaims, record: SessionRecord, graceMs: number, now: number): Judgement {
  if (gen > record.gen) return 'new';
  if (gen === record.gen && Math.abs(mintedAt - record.mintedAt) <= graceMs) return 'known';
  return Math.abs(now - record.confirmedAt) < graceMs ? 'known' : 'reuse';
}
