import type { Static, TObject } from '@sinclair/typebox'
import { credential, identifier, optional, type Reader, section, text } from './section.ts'
import type { SourceSpec, VaultLogin, VaultPlace } from './sources/spec.ts'
import { isLoopback } from './values.ts'

/** The source of the environment's secrets. */
export interface SecretsSettings {
  readonly secretsSource: SourceSpec
}

const variables = {
  SECRETS_SOURCE: text(
    'Where secret variables come from: env, dir:/path, exec:command, vault:https://host/mount/path[?transit=mount/key].',
    {
      default: 'env'
    }
  ),
  VAULT_ROLE_ID: identifier('For Vault or OpenBao: the role id of an AppRole.'),
  VAULT_SECRET_ID: credential('The secret id of that AppRole.', { days: 30, opensSource: true }),
  VAULT_KUBERNETES_ROLE: optional(text('Instead of an AppRole: the role for the Kubernetes login.')),
  VAULT_KUBERNETES_TOKEN_FILE: text('File with the service account token for the Kubernetes login.', {
    default: '/var/run/secrets/kubernetes.io/serviceaccount/token'
  }),
  VAULT_NAMESPACE: optional(text('The namespace of Vault Enterprise, or of OpenBao.'))
}
type Env = Static<TObject<typeof variables>>

export default section(variables, reader => {
  const { env, parse, production } = reader
  const spec = parse('SECRETS_SOURCE', (given): SourceSpec => {
    const [kind, rest] = partsOf(given)
    if (kind === 'env' && rest === '') return { kind }
    if (kind === 'dir' && rest.startsWith('/')) return { kind, path: rest }
    if (kind === 'exec' && rest.trim() !== '') return { kind, command: rest }
    if (kind !== 'vault')
      throw new Error('must be env, dir:/absolute/path, exec:command, or vault:https://host:port/mount/path')
    if (production && rest.startsWith('http:') && !isLoopback(rest))
      throw new Error('must be https, because it serves secrets')
    return { kind, ...parseVaultUrl(rest), namespace: env.VAULT_NAMESPACE, login: loginOf(reader) }
  })
  const settings: SecretsSettings = { secretsSource: spec ?? { kind: 'env' } }
  return settings
})

/** @throws Error that describes the expected form of the URL */
function parseVaultUrl(text: string): Pick<VaultPlace, 'origin' | 'mount' | 'path' | 'transit'> {
  const url = URL.parse(text)
  const [mount = '', ...path] = url?.pathname.split('/').filter(Boolean) ?? []
  const hasMore = url !== null && [...url.searchParams.keys()].some(name => name !== 'transit')
  if (url === null || !/^https?:$/.test(url.protocol) || url.username || hasMore || url.hash || path.length === 0)
    throw new Error(
      'must be vault:https://host:port/mount/path, such as vault:https://vault.internal:8200/secret/rhone'
    )
  return { origin: url.origin, mount, path: path.join('/'), ...transitOf(url.searchParams.get('transit')) }
}

function transitOf(text: string | null): Pick<VaultPlace, 'transit'> {
  if (text === null) return {}
  const [mount, key, ...rest] = text.split('/')
  if (!mount || !key || rest.length > 0)
    throw new Error('its transit must be mount/key, such as ?transit=transit/rhone')
  return { transit: { mount, key } }
}

function partsOf(given: string): [string, string] {
  const colon = given.indexOf(':')
  return colon < 0 ? [given, ''] : [given.slice(0, colon), given.slice(colon + 1)]
}

function loginOf({ env, refuse }: Reader<Env>): VaultLogin {
  const { VAULT_ROLE_ID: roleId = '', VAULT_SECRET_ID: secretId = '', VAULT_KUBERNETES_ROLE: role = '' } = env
  const isComplete = role === '' ? roleId !== '' && secretId !== '' : roleId === '' && secretId === ''
  if (!isComplete)
    refuse('SECRETS_SOURCE: vault needs VAULT_ROLE_ID and VAULT_SECRET_ID, or else VAULT_KUBERNETES_ROLE')
  if (role === '') return { kind: 'approle', roleId, secretId }
  return { kind: 'kubernetes', role, tokenFile: env.VAULT_KUBERNETES_TOKEN_FILE }
}
