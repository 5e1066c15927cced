/** Somebody, as the provider knows them. */
export interface Identity {
  /** Never changes and is never given to anybody else. */
  readonly id: number
  readonly username: string
  /** The primary address, which the provider has verified. */
  readonly email: string
  readonly avatarUrl: string | null
}

/** Who can tell who somebody is. */
export interface OauthProvider {
  /** Where to send a browser to. */
  authorizeUrl(request: { state: string; challenge: string; redirectUri: string }): string
  /** Takes the code that came back to whom it stands for. */
  identify(request: { code: string; verifier: string; redirectUri: string }): Promise<Identity>
}

/** Remembers which sign-ins have come back. */
export interface SpentSignIns {
  /** @returns whether this is the first time */
  spend(hash: Buffer, until: Date): Promise<boolean>
}
