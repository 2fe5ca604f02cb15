import { redirect } from 'next/navigation';
import { withSession } from '../../../lib/session';

/** The redirect of next/navigation throws; the cookie goes with it. */
export const POST = withSession(async (session) => {
  await session.login('ada'); // check a password here
  redirect('/');
});
