/** The policy of logging programs in, which is limited and stays open as signing in does. */
export const deviceLogin = { rateClass: 'auth', maintenance: false, cors: false } as const
