/** Which source a process reads its secrets from, as plain data. */
export type SourceSpec =
  | { readonly kind: 'env' }
  | { readonly kind: 'dir'; readonly path: string }
  | { readonly kind: 'exec'; readonly command: string }
  | ({ readonly kind: 'vault' } & VaultPlace)

/** A secret in a KV v2 engine, and how to reach it. */
export interface VaultPlace {
  readonly origin: string
  /** The engine's mount point. */
  readonly mount: string
  readonly path: string
  readonly namespace?: string | undefined
  /** The key of a transit engine that seals the fields; absent: they are stored in plain text. */
  readonly transit?: { readonly mount: string; readonly key: string } | undefined
  readonly login: VaultLogin
}

/** How this server authenticates to Vault. */
export type VaultLogin =
  | { readonly kind: 'approle'; readonly roleId: string; readonly secretId: string }
  | { readonly kind: 'kubernetes'; readonly role: string; readonly tokenFile: string }
