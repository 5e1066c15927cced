/** The policy of program logins: rate-limited, and open during maintenance like sign-in. */
export const deviceLogin = { rateClass: 'auth', maintenance: false, cors: false } as const
