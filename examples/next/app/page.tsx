import { readSession } from '../lib/session';
import { enter, leave } from './actions';

/** A server component, which only reads the session. */
export default async function Page() {
  const { user, endMessage } = await readSession();
  if (user === null) {
    return (
      <form action={enter}>
        <p>{endMessage ?? 'Nobody is signed in.'}</p>
        <input name="user" defaultValue="ada" />
        <button type="submit">Log in</button>
      </form>
    );
  }
  const { name } = user.detail as { name: string };
  return (
    <form action={leave}>
      <p>{`Hello, ${name}`}</p>
      <button type="submit">Log out</button>
    </form>
  );
}
