import { requireUser } from 'tokensession/fetch';
import { withSession } from '../../../lib/session';

export const GET = withSession(async (session) => Response.json(requireUser(session)));
