import { optional, section, text } from './section.ts'

/** External monitoring of the server. */
export interface MonitoringSettings {
  readonly prometheusUrl: string | null
}

const variables = {
  PROMETHEUS_URL: optional(
    text(
      'A Prometheus that scrapes this server, for the history of /admin/operations. Unset: the memory of the instance.'
    )
  )
}

export default section(variables, ({ parse }): MonitoringSettings => {
  return { prometheusUrl: parse('PROMETHEUS_URL', parseUrl) }
})

function parseUrl(value: string): string {
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol))
    throw new Error('must be an http or https URL, such as http://127.0.0.1:9090')
  if (url.search || url.hash) throw new Error('must not have a query or fragment')
  return value
}
