export {
  type Authenticate,
  type Authentication,
  type AuthenticatorOptions,
  authenticator,
  type ConnectionDetails,
  type ConnectionRequest,
} from './http/authenticator';
export type { Connection } from './http/exchange/connection';
