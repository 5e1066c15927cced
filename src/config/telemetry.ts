import { credential, optional, section, text } from './section.ts'

/** Where traces and errors are sent. */
export interface TelemetrySettings {
  readonly telemetry: {
    /** Base URL of an OTLP/HTTP receiver. */
    readonly otlpEndpoint: string | null
    /** Share of traces to record, from 0 to 1. */
    readonly sampleRatio: number
    readonly sentryDsn: string | null
  }
}

const variables = {
  OTEL_EXPORTER_OTLP_ENDPOINT: optional(
    text('Base URL of an OTLP/HTTP receiver for traces, such as http://127.0.0.1:4318. No traces when unset.')
  ),
  OTEL_TRACES_SAMPLER_ARG: text('Share of traces to record, from 0 to 1.', { default: '0.1' }),
  SENTRY_DSN: credential('DSN of the Sentry project that receives server errors. Not reported when unset.', {
    days: 365,
    needsRestart: true
  })
}

export default section(variables, ({ parse }): TelemetrySettings => {
  return {
    telemetry: {
      otlpEndpoint: parse('OTEL_EXPORTER_OTLP_ENDPOINT', parseEndpoint),
      sampleRatio: parse('OTEL_TRACES_SAMPLER_ARG', parseRatio) ?? 0,
      sentryDsn: parse('SENTRY_DSN', parseDsn)
    }
  }
})

function parseEndpoint(value: string): string {
  const url = URL.parse(value)
  if (url === null || !/^https?:$/.test(url.protocol) || url.search || url.hash)
    throw new Error('must be an http or https URL without a query, such as http://127.0.0.1:4318')
  if (url.pathname.endsWith('/v1/traces')) throw new Error('must be the base URL, without /v1/traces')
  return value.replace(/\/+$/, '')
}

function parseRatio(value: string): number {
  const ratio = /^\d*\.?\d+$/.test(value) ? Number(value) : Number.NaN
  if (!(ratio >= 0 && ratio <= 1)) throw new Error('must be a number from 0 to 1, such as 0.1')
  return ratio
}

function parseDsn(value: string): string {
  const url = URL.parse(value)
  const isDsn = url !== null && /^https?:$/.test(url.protocol) && url.username !== '' && /\/\d+$/.test(url.pathname)
  if (!isDsn) throw new Error('must be the DSN of a Sentry project, such as https://<key>@sentry.example.com/42')
  return value
}
