export {
  type AuthenticateOptions,
  authenticate,
  type FlashMessage,
  type Message,
  type Passport,
} from './passport/authenticate';
export { type OAuthStateStore, type OAuthStateStoreOptions, oauthStateStore } from './passport/oauth-state-store';
