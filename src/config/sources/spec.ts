/** Which source a process reads its secrets from, as plain data. */
export type SourceSpec =
  | { readonly kind: 'env' }
  | { readonly kind: 'dir'; readonly path: string }
  | { readonly kind: 'exec'; readonly command: string }
  | ({ readonly kind: 'vault' } & VaultPlace)

/** One secret of a KV v2 engine, and how to get there. */
export interface VaultPlace {
  readonly origin: string
  /** Where the engine is mounted. */
  readonly mount: string
  readonly path: string
  readonly namespace?: string | undefined
  /** A key of a transit engine, by which fields are sealed once more; absent: they are plain. */
  readonly transit?: { readonly mount: string; readonly key: string } | undefined
  readonly login: VaultLogin
}

/** How this server proves to Vault who it is. */
export type VaultLogin =
  | { readonly kind: 'approle'; readonly roleId: string; readonly secretId: string }
  | { readonly kind: 'kubernetes'; readonly role: string; readonly tokenFile: string }
