import type { Variables } from '../source.ts'
import { environmentSource } from './environment.ts'
import type { SecretSource } from './port.ts'
import type { SourceSpec } from './spec.ts'

/** Loads only the code that the source needs: most processes read their environment. */
export async function openSource(spec: SourceSpec, variables: Variables): Promise<SecretSource> {
  switch (spec.kind) {
    case 'env':
      return environmentSource(variables)
    case 'dir':
      return (await import('./dir.ts')).dirSource(spec.path)
    case 'exec':
      return (await import('./exec.ts')).execSource(spec.command)
    case 'vault':
      return (await import('./vault.ts')).vaultSource(spec)
  }
}
