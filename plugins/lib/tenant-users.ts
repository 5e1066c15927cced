/** A range of this machine's users, from first to last number, that run only tenants' code. */
export interface UserRange {
  readonly first: number
  readonly last: number
}

/** Unassigned users outside systemd's own ranges: one per app. */
export const APP_USERS: UserRange = { first: 60_578, last: 61_183 }
/** Unassigned users in systemd's range for dynamic service users: one per build. */
export const BUILD_USERS: UserRange = { first: 61_184, last: 65_519 }

export const isTenantUser = (uid: number): boolean =>
  [APP_USERS, BUILD_USERS].some(({ first, last }) => first <= uid && uid <= last)
