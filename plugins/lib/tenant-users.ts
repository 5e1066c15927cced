/** Users of this machine, by their first and last number, that run only what tenants bring. */
export interface UserRange {
  readonly first: number
  readonly last: number
}

/** Unnamed users outside of systemd's own ranges: one for each app. */
export const APP_USERS: UserRange = { first: 60_578, last: 61_183 }
/** Unnamed users, systemd's range for dynamic service users: one for each build. */
export const BUILD_USERS: UserRange = { first: 61_184, last: 65_519 }

export const isTenantUser = (uid: number): boolean =>
  [APP_USERS, BUILD_USERS].some(({ first, last }) => first <= uid && uid <= last)
