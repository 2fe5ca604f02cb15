/** The id of a token's session, the same for all its tokens. */
export function idOf(token: string): string {
  return token.split('.')[1] as string;
}
