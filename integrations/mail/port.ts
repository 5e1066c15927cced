export interface Mail {
  /** Addresses, without names. */
  readonly to: readonly string[]
  readonly subject: string
  readonly text: string
}

/** Sends mail. */
export interface Mailer {
  /** @throws RemoteError when the mail may not have been accepted, TypeError for a wrong address */
  send(mail: Mail): Promise<void>
}
