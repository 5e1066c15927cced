import { nearest } from '../../plugins/lib/nearest.ts'
import { type Config, Environment, type Variables } from './index.ts'

/** Warnings about a usable environment that is probably a mistake. Each sentence begins with the variables to check. */
export function warningsOf(config: Config, variables: Variables): string[] {
  return [...misspelt(variables), ...leftOut(config)]
}

/** One wrong letter in five is a likely typo; more than that is probably another program's variable. */
const LIKELY = 1 / 5

/** Unknown variables that resemble a known one. */
export function misspelt(variables: Variables): string[] {
  const known = Object.keys(Environment.properties)
  const readable = new Set([...known, ...known.map(name => `${name}_FILE`)])
  return Object.keys(variables)
    .filter(name => variables[name] && !readable.has(name) && !name.startsWith('RHONE_TEST_'))
    .flatMap(name => {
      const meant = nearest(name, readable, LIKELY)
      if (meant !== undefined) return [`${name}: is not a setting; did you mean ${meant}?`]
      return name.startsWith('RHONE_') ? [`${name}: is not a setting`] : []
    })
}

function leftOut(config: Config): string[] {
  const {
    github,
    localAccounts,
    deployer,
    baseUrl,
    production,
    metricsTokens,
    trustProxy,
    tls,
    backups,
    notifyEmail,
    mail
  } = config
  const warnings: string[] = []
  if (github === null && !localAccounts)
    warnings.push('GITHUB_CLIENT_ID, LOCAL_ACCOUNTS: nobody can sign in; only tokens work')
  if (deployer === null) warnings.push('DEPLOYER, FLY_API_TOKEN: apps cannot be deployed')
  if (deployer === 'local' && baseUrl.hostname.endsWith('.localhost'))
    warnings.push(`BASE_URL: an app could take the host name ${baseUrl.hostname}, and receive its cookies`)
  if (notifyEmail.length > 0 && mail === null)
    warnings.push('NOTIFY_EMAIL, SMTP_URL: without a mail server, nobody is notified by mail')
  if (!production) return warnings
  if (metricsTokens.length === 0) warnings.push('METRICS_TOKEN: is not set, so /metrics refuses all scrapers')
  if (trustProxy === 'none' && tls === null)
    warnings.push('TRUST_PROXY: is none, so all clients behind the TLS proxy share one address and its limits')
  if (backups.recipients.length === 0) warnings.push('BACKUP_RECIPIENTS: is not set, so no backups are created')
  else if (backups.target === null)
    warnings.push('BACKUP_URL: is not set, so backups stay below DATA_DIR and are lost with this machine')
  return warnings
}
