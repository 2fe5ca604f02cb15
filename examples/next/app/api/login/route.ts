import { withSession } from '../../../lib/session';

export const POST = withSession(async (session) => {
  await session.login('ada'); // check a password here
  return Response.json(session.user);
});
