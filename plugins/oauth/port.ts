/** A user's identity at the provider. */
export interface Identity {
  /** Never changes and is never reassigned. */
  readonly id: number
  readonly username: string
  /** The primary email address, verified by the provider. */
  readonly email: string
  readonly avatarUrl: string | null
}

/** An identity provider. */
export interface OauthProvider {
  /** The URL to redirect the browser to. */
  authorizeUrl(request: { state: string; challenge: string; redirectUri: string }): string
  /** Exchanges the authorization code for the user's identity. */
  identify(request: { code: string; verifier: string; redirectUri: string }): Promise<Identity>
}

/** Remembers used sign-ins, so that each can be completed only once. */
export interface SpentSignIns {
  /** @returns whether this is the first use */
  spend(hash: Buffer, until: Date): Promise<boolean>
}
