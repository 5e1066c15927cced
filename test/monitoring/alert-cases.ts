import type { AlertCase, Phase } from './promtool.ts'

/* Each threshold has a case just above and one just below; each duration, the minute before and the minute after. */

const request = (outcome: string, slo = 'detail') => `rhone_slo_requests_total{slo="${slo}",outcome="${outcome}"}`
const HOUR = 60
const DAY = 24 * HOUR

const served = (minutes: number, good: number, bad: number, outcome = 'error'): Phase => ({
  minutes,
  perMinute: { [request('good')]: good, [request(outcome)]: bad }
})

/** The same for windows of days: in steps of minutes, five-minute rates cannot be recorded from counters. */
const recorded = (...phases: Phase[]): Pick<AlertCase, 'counters' | 'levels'> => ({
  counters: phases,
  levels: phases.map(({ minutes, perMinute }) => {
    const [good = 0, bad = 0] = Object.values(perMinute)
    const rates = {
      'rhone:slo_error:rate5m{slo="detail"}': bad / 60,
      'rhone:slo_valid:rate5m{slo="detail"}': (good + bad) / 60
    }
    return { minutes, perMinute: rates }
  })
})

/** After a time without failures, everything fails, until the long window exceeds its threshold. */
const burns: AlertCase[] = [
  // 36 % of an hour are 21.6 minutes of failure.
  {
    alert: 'ErrorBudgetFastBurn',
    that: 'a total failure pages after 22 minutes and the 2 that it must last',
    counters: [served(2 * HOUR, 100, 0), served(HOUR, 0, 100)],
    silent: [120 + 23.5],
    fires: [120 + 25]
  },
  {
    alert: 'ErrorBudgetFastBurn',
    that: 'a failure that is over is quiet when the last 5 minutes are good, and 10 more',
    counters: [served(2 * HOUR, 100, 0), served(30, 0, 100), served(HOUR, 100, 0)],
    fires: [150 + 12],
    silent: [150 + 15]
  },
  {
    alert: 'ErrorBudgetFastBurn',
    that: 'a short window just above the threshold is not enough, nor one just below',
    counters: [served(2 * HOUR, 6401, 3599)],
    silent: [110]
  },
  { alert: 'ErrorBudgetFastBurn', that: 'just above fires', counters: [served(2 * HOUR, 6399, 3601)], fires: [110] },
  {
    alert: 'ErrorBudgetFastBurn',
    that: 'one failed request of one pages nobody, and nine do not either',
    counters: [served(1, 0, 9), served(20, 0, 0)],
    silent: [3, 5, 6]
  },
  {
    alert: 'ErrorBudgetFastBurn',
    that: 'twelve of twelve page',
    counters: [served(6, 0, 2), served(20, 0, 0)],
    fires: [8.5]
  },
  {
    alert: 'ErrorBudgetMediumBurn',
    that: 'a total failure is told after 54 minutes and the 5 that it must last',
    counters: [served(8 * HOUR, 100, 0), served(2 * HOUR, 0, 100)],
    silent: [480 + 58],
    fires: [480 + 61]
  },
  {
    alert: 'ErrorBudgetMediumBurn',
    that: 'a failure that is over is quiet when the last half hour is good',
    counters: [served(8 * HOUR, 100, 0), served(80, 0, 100), served(HOUR, 100, 0)],
    fires: [560 + 24],
    silent: [560 + 27]
  },
  { alert: 'ErrorBudgetMediumBurn', that: 'just below is silent', counters: [served(HOUR, 8501, 1499)], silent: [50] },
  { alert: 'ErrorBudgetMediumBurn', that: 'just above fires', counters: [served(HOUR, 8499, 1501)], fires: [50] },
  {
    alert: 'ErrorBudgetMediumBurn',
    that: 'fourteen failures are too few, sixteen are not',
    counters: [served(14, 0, 1), served(60, 0, 0)],
    silent: [20, 22]
  },
  {
    alert: 'ErrorBudgetMediumBurn',
    that: 'sixteen failures are enough',
    counters: [served(18, 0, 1), served(60, 0, 0)],
    fires: [26]
  },
  {
    alert: 'ErrorBudgetSlowBurn',
    that: 'a total failure is told after 1.8 hours and the 15 minutes that it must last',
    step: 6,
    ...recorded(served(4 * DAY, 100, 0), served(4 * HOUR, 0, 100)),
    silent: [4 * DAY + 115, 4 * DAY + 121],
    fires: [4 * DAY + 126]
  },
  {
    alert: 'ErrorBudgetSlowBurn',
    that: 'a failure that is over is quiet when the last 6 hours are good',
    step: 6,
    ...recorded(served(4 * DAY, 100, 0), served(3 * HOUR, 0, 100), served(8 * HOUR, 100, 0)),
    fires: [4 * DAY + 180 + 330],
    silent: [4 * DAY + 180 + 370]
  },
  {
    alert: 'ErrorBudgetSlowBurn',
    that: 'just below is silent',
    step: 6,
    ...recorded(served(8 * HOUR, 9751, 249)),
    silent: [460]
  },
  {
    alert: 'ErrorBudgetSlowBurn',
    that: 'just above fires',
    step: 6,
    ...recorded(served(8 * HOUR, 9749, 251)),
    fires: [460]
  },
  {
    alert: 'ErrorBudgetSlowBurn',
    that: 'four failures are too few',
    step: 6,
    ...recorded(served(18, 0, 0.22), served(HOUR, 0, 0)),
    silent: [40, 60]
  },
  {
    alert: 'ErrorBudgetBurn2Percent',
    that: 'a total failure pages after 4.3 minutes and the 2 that it must last',
    counters: [served(2 * HOUR, 100, 0), served(HOUR, 0, 100)],
    silent: [120 + 6.5],
    fires: [120 + 8]
  },
  {
    alert: 'ErrorBudgetBurn2Percent',
    that: 'a failure that is over is quiet when the last 5 minutes are good',
    counters: [served(2 * HOUR, 100, 0), served(20, 0, 100), served(HOUR, 100, 0)],
    fires: [140 + 3.5],
    silent: [140 + 6]
  },
  { alert: 'ErrorBudgetBurn2Percent', that: 'just below is silent', counters: [served(HOUR, 9281, 719)], silent: [50] },
  { alert: 'ErrorBudgetBurn2Percent', that: 'just above fires', counters: [served(HOUR, 9279, 721)], fires: [50] },
  {
    alert: 'ErrorBudgetBurn2Percent',
    that: 'nine failures are too few',
    counters: [served(1, 0, 9), served(20, 0, 0)],
    silent: [3, 5, 6]
  },
  {
    alert: 'ErrorBudgetBurn2Percent',
    that: 'twelve failures are enough',
    counters: [served(6, 0, 2), served(20, 0, 0)],
    fires: [8.5]
  },
  {
    alert: 'ErrorBudgetBurn5Percent',
    that: 'a total failure is told after 10.8 minutes and the 5 that it must last',
    counters: [served(8 * HOUR, 100, 0), served(2 * HOUR, 0, 100)],
    silent: [480 + 15],
    fires: [480 + 18]
  },
  {
    alert: 'ErrorBudgetBurn5Percent',
    that: 'a failure that is over is quiet when the last half hour is good',
    counters: [served(8 * HOUR, 100, 0), served(80, 0, 100), served(HOUR, 100, 0)],
    fires: [560 + 28],
    silent: [560 + 31]
  },
  { alert: 'ErrorBudgetBurn5Percent', that: 'just below is silent', counters: [served(HOUR, 9701, 299)], silent: [50] },
  { alert: 'ErrorBudgetBurn5Percent', that: 'just above fires', counters: [served(HOUR, 9699, 301)], fires: [50] },
  {
    alert: 'ErrorBudgetBurn5Percent',
    that: 'fourteen failures are too few',
    counters: [served(14, 0, 1), served(60, 0, 0)],
    silent: [20, 22]
  },
  {
    alert: 'ErrorBudgetBurn5Percent',
    that: 'sixteen failures are enough',
    counters: [served(18, 0, 1), served(60, 0, 0)],
    fires: [26]
  },
  {
    alert: 'ErrorBudgetBurn10Percent',
    that: 'a total failure is told after 22 minutes and the hour that it must last',
    step: 6,
    ...recorded(served(4 * DAY, 100, 0), served(4 * HOUR, 0, 100)),
    silent: [4 * DAY + 75],
    fires: [4 * DAY + 100]
  },
  {
    alert: 'ErrorBudgetBurn10Percent',
    that: 'just below is silent',
    step: 6,
    ...recorded(served(8 * HOUR, 99510, 490)),
    silent: [460]
  },
  {
    alert: 'ErrorBudgetBurn10Percent',
    that: 'just above fires',
    step: 6,
    ...recorded(served(8 * HOUR, 99490, 510)),
    fires: [460]
  },
  {
    alert: 'ErrorBudgetBurn10Percent',
    that: 'four failures are too few',
    step: 6,
    ...recorded(served(18, 0, 0.22), served(3 * HOUR, 0, 0)),
    silent: [90, 120]
  }
]

/** The short window resets the alert: it has the same threshold, not a lower one. */
const resets = (alert: string, ratio: number, failing: number, later: number, step = 1): AlertCase => ({
  alert,
  that: 'a failure that has become small enough in the short window is over',
  step,
  ...(step === 1 ? { counters: resetPhases(ratio, failing, later) } : recorded(...resetPhases(ratio, failing, later))),
  fires: [failing],
  silent: [failing + later]
})

const resetPhases = (ratio: number, failing: number, later: number) => [
  served(failing, 0, 1000),
  served(later, 1000 - 1000 * ratio * 0.9, 1000 * ratio * 0.9)
]

/** Failures that are few enough to be counted one by one, an hour or six apart. */
const counted = (alert: string, events: number, window: number, last: number): AlertCase[] => {
  const few = Math.floor(events / 2)
  const [first, second] = [served(2, 0, few / 2), served(4, 0, (events + 2 - few) / 4)]
  return [
    {
      alert,
      that: 'failures of the whole window count',
      counters: [first, served(window * 0.8, 0, 0), second, served(60, 0, 0)],
      fires: [2 + window * 0.8 + 4 + last]
    },
    {
      alert,
      that: 'failures before the window do not',
      counters: [first, served(window * 1.1, 0, 0), second, served(60, 0, 0)],
      silent: [2 + window * 1.1 + 4 + last]
    }
  ]
}

const windows: AlertCase[] = [
  resets('ErrorBudgetFastBurn', 0.36, 40, 19),
  resets('ErrorBudgetMediumBurn', 0.15, 70, 50),
  resets('ErrorBudgetSlowBurn', 0.025, 480, 420, 6),
  resets('ErrorBudgetBurn2Percent', 0.072, 40, 12),
  resets('ErrorBudgetBurn5Percent', 0.03, 70, 50),
  resets('ErrorBudgetBurn10Percent', 0.005, 480, 420, 6),
  ...counted('ErrorBudgetFastBurn', 10, 60, 1),
  ...counted('ErrorBudgetBurn2Percent', 10, 60, 1),
  ...counted('ErrorBudgetMediumBurn', 15, 360, 5),
  ...counted('ErrorBudgetBurn5Percent', 15, 360, 5),
  ...counted('SLOErrorRateBreach', 10, 60, 5)
]

/** Outcomes that cost no budget, and those that must count. */
const budget: AlertCase[] = [
  {
    alert: 'ErrorBudgetBurn2Percent',
    that: 'maintenance, limits and clients that left cost nothing',
    counters: [
      {
        minutes: HOUR,
        perMinute: {
          [request('good')]: 10,
          [request('maintenance')]: 500,
          [request('limited')]: 500,
          [request('gone')]: 500
        }
      }
    ],
    silent: [50]
  },
  {
    alert: 'ErrorBudgetBurn2Percent',
    that: 'probes dilute no failure',
    counters: [{ minutes: HOUR, perMinute: { [request('error')]: 10, [request('good', 'health')]: 10_000 } }],
    fires: [50]
  },
  {
    alert: 'ErrorBudgetBurn2Percent',
    that: 'an instance that died of its errors is still counted',
    counters: [
      { minutes: HOUR, perMinute: { 'rhone_slo_requests_total{slo="detail",outcome="good",instance="b"}': 100 } }
    ],
    gauges: {
      'rhone_slo_requests_total{slo="detail",outcome="error",instance="a"}': '0x30 100+100x9 _x21',
      'rhone_slo_requests_total{slo="detail",outcome="good",instance="a"}': '0+100x30 3000x9 _x21'
    },
    fires: [42.5]
  },
  {
    alert: 'SLOAvailabilityBreach',
    that: '3.6 hours of failure in 30 days use the budget up, three do not',
    step: 60,
    ...recorded(served(4 * DAY, 50, 50), served(30 * DAY, 100, 0), served(3 * HOUR, 0, 100), served(2 * HOUR, 100, 0)),
    silent: [34 * DAY + 4 * HOUR]
  },
  {
    alert: 'SLOAvailabilityBreach',
    that: 'more than 3.6 hours of failure are a breach',
    step: 60,
    ...recorded(served(4 * DAY, 50, 50), served(30 * DAY, 100, 0), served(4 * HOUR, 0, 100), served(HOUR, 100, 0)),
    silent: [34 * DAY + 186],
    fires: [34 * DAY + 190]
  },
  {
    alert: 'SLOAvailabilityBreach',
    that: 'a quiet hour in which everything fails weighs as little as its traffic',
    step: 60,
    ...recorded(served(9 * DAY, 1000, 0), served(8 * HOUR, 0, 1), served(HOUR, 1000, 0)),
    silent: [9 * DAY + 8.9 * HOUR]
  },
  {
    alert: 'SLOErrorRateBreach',
    that: 'just above half a percent fires after 5 minutes',
    counters: [served(2 * HOUR, 9948, 52)],
    silent: [5],
    fires: [8]
  },
  { alert: 'SLOErrorRateBreach', that: 'just below is silent', counters: [served(2 * HOUR, 9952, 48)], silent: [110] },
  {
    alert: 'SLOErrorRateBreach',
    that: 'nine failures are too few',
    counters: [served(9, 0, 1), served(60, 0, 0)],
    silent: [20]
  },
  {
    alert: 'SLOErrorRateBreach',
    that: 'eleven failures are enough',
    counters: [served(12, 0, 1), served(60, 0, 0)],
    fires: [20]
  },
  {
    alert: 'SLOErrorRateBreach',
    that: 'it looks at one hour',
    counters: [served(10, 0, 100), served(HOUR, 100_000, 0), served(HOUR, 1000, 0)],
    silent: [75]
  },
  {
    alert: 'SLOLatencyBreach',
    that: 'more than 5 % slow ones fire after 5 minutes',
    counters: [served(2 * HOUR, 949, 51, 'slow')],
    silent: [5],
    fires: [8]
  },
  {
    alert: 'SLOLatencyBreach',
    that: 'just below is silent',
    counters: [served(2 * HOUR, 951, 49, 'slow')],
    silent: [110]
  },
  {
    alert: 'SLOLatencyBreach',
    that: 'nine slow ones are too few',
    counters: [served(9, 0, 1, 'slow'), served(60, 0, 0)],
    silent: [20]
  },
  {
    alert: 'SLOLatencyBreach',
    that: 'eleven slow ones are enough',
    counters: [served(12, 0, 1, 'slow'), served(60, 0, 0)],
    fires: [20]
  },
  {
    alert: 'ClientsLeaving',
    that: 'above a tenth fires after 10 minutes',
    counters: [served(HOUR, 899, 101, 'gone')],
    silent: [10],
    fires: [13]
  },
  { alert: 'ClientsLeaving', that: 'just below is silent', counters: [served(HOUR, 901, 99, 'gone')], silent: [50] },
  {
    alert: 'ClientsLeaving',
    that: 'an idle service says nothing',
    counters: [served(HOUR, 2, 3, 'gone')],
    silent: [50]
  }
]

/** Ten idle minutes, so that a rate grows over its whole window. */
const idle: Phase = { minutes: 10, perMinute: {} }

const up = (instance: string) => `up{job="rhone",instance="${instance}"}`
const status = (code: string) => `rhone_http_requests_total{job="rhone",status="${code}"}`
const bucket = (le: string) => `rhone_http_request_duration_seconds_bucket{job="rhone",le="${le}"}`

const availability: AlertCase[] = [
  { alert: 'ServiceDown', that: 'nothing scraped is a page after a minute', gauges: {}, silent: [0.5], fires: [1.5] },
  {
    alert: 'ServiceDown',
    that: 'all instances down are a page, also long after',
    gauges: { [up('a')]: '1x5 0x60', [up('b')]: '1x5 0x60' },
    silent: [5, 6.5],
    fires: [8, 60]
  },
  {
    alert: 'ServiceDown',
    that: 'a day without traffic is no outage',
    step: 30,
    gauges: { [up('a')]: '1x50' },
    silent: [DAY]
  },
  {
    alert: 'ServiceDown',
    that: 'one of two is another alert',
    gauges: { [up('a')]: '1x60', [up('b')]: '0x60' },
    silent: [50]
  },
  {
    alert: 'InstanceDown',
    that: 'one of two is told after two minutes',
    gauges: { [up('a')]: '1x60', [up('b')]: '1x5 0x60' },
    silent: [7.5],
    fires: [8.5]
  },
  {
    alert: 'InstanceDown',
    that: 'an outage of all is not told twice',
    gauges: { [up('a')]: '0x60', [up('b')]: '0x60' },
    silent: [50]
  },
  {
    alert: 'ProbeFailing',
    that: 'two minutes without an answer are a page',
    gauges: { 'probe_success{job="rhone-blackbox",instance="https://x"}': '1x5 0x60' },
    silent: [7.5],
    fires: [8.5]
  },
  {
    alert: 'HighErrorRate',
    that: 'above 5 % fires after 5 minutes',
    counters: [{ minutes: HOUR, perMinute: { [status('200')]: 949, [status('500')]: 51 } }],
    silent: [5.5],
    fires: [6.5]
  },
  {
    alert: 'HighErrorRate',
    that: 'just below is silent',
    counters: [{ minutes: HOUR, perMinute: { [status('200')]: 951, [status('500')]: 49 } }],
    silent: [50]
  },
  {
    alert: 'HighErrorRate',
    that: 'five requests a minute prove nothing',
    counters: [{ minutes: HOUR, perMinute: { [status('500')]: 5 } }],
    silent: [50]
  },
  {
    alert: 'HighErrorRate',
    that: 'it looks at five minutes',
    counters: [
      { minutes: 30, perMinute: { [status('500')]: 100, [status('200')]: 100 } },
      { minutes: 30, perMinute: { [status('500')]: 0, [status('200')]: 100 } }
    ],
    fires: [34],
    silent: [36]
  },
  {
    alert: 'HighResponseTime',
    that: 'P95 above half a second fires after 5 minutes',
    counters: [{ minutes: HOUR, perMinute: { [bucket('0.5')]: 949, [bucket('1')]: 1000, [bucket('+Inf')]: 1000 } }],
    silent: [5.5],
    fires: [6.5]
  },
  {
    alert: 'HighResponseTime',
    that: 'just below is silent',
    counters: [{ minutes: HOUR, perMinute: { [bucket('0.5')]: 951, [bucket('1')]: 1000, [bucket('+Inf')]: 1000 } }],
    silent: [50]
  },
  {
    alert: 'LoadShedding',
    that: 'more than one refusal a second fires after 5 minutes',
    counters: [idle, { minutes: HOUR, perMinute: { 'rhone_shed_total{reason="queue"}': 62 } }],
    silent: [19],
    fires: [21.5]
  },
  {
    alert: 'LoadShedding',
    that: 'just below is silent',
    counters: [{ minutes: HOUR, perMinute: { 'rhone_shed_total{reason="queue"}': 58 } }],
    silent: [50]
  },
  {
    alert: 'RateLimitSpike',
    that: 'more than ten refusals a second fire after 10 minutes',
    counters: [idle, { minutes: HOUR, perMinute: { 'rhone_rate_limited_total{class="auth"}': 610 } }],
    silent: [24],
    fires: [26.5]
  },
  {
    alert: 'RateLimitSpike',
    that: 'just below is silent',
    counters: [{ minutes: HOUR, perMinute: { 'rhone_rate_limited_total{class="auth"}': 590 } }],
    silent: [50]
  },
  {
    alert: 'MaintenanceTooLong',
    that: 'two hours are told, and the end of it ends the alert',
    gauges: { rhone_maintenance: '0x10 1x200 0x60' },
    silent: [131, 216],
    fires: [132, 209]
  }
]

const RHONE = 'job="rhone",instance="a"'

const resources: AlertCase[] = [
  {
    alert: 'HighCPUUsage',
    that: 'most of a core fires after 5 minutes',
    counters: [idle, { minutes: HOUR, perMinute: { [`process_cpu_seconds_total{${RHONE}}`]: 48.6 } }],
    silent: [19],
    fires: [21.5]
  },
  {
    alert: 'HighCPUUsage',
    that: 'just below is silent',
    counters: [{ minutes: HOUR, perMinute: { [`process_cpu_seconds_total{${RHONE}}`]: 47.4 } }],
    silent: [50]
  },
  {
    alert: 'HighEventLoopLag',
    that: 'a late event loop fires after 5 minutes',
    gauges: { [`nodejs_eventloop_lag_p99_seconds{${RHONE}}`]: '0.19x10 0.21x60' },
    silent: [10, 15.5],
    fires: [16.5]
  },
  {
    alert: 'HighMemoryUsage',
    that: 'four fifths of the limit fire after 5 minutes',
    gauges: {
      [`process_resident_memory_bytes{${RHONE}}`]: '79x10 81x60',
      [`rhone_memory_limit_bytes{${RHONE}}`]: '100x70'
    },
    silent: [10, 15.5],
    fires: [16.5]
  },
  {
    alert: 'FileDescriptorsRunningOut',
    that: 'four fifths fire after 5 minutes',
    gauges: { [`process_open_fds{${RHONE}}`]: '79x10 81x60', [`process_max_fds{${RHONE}}`]: '100x70' },
    silent: [10, 15.5],
    fires: [16.5]
  },
  {
    alert: 'LowDiskSpace',
    that: 'less than a fifth fires after 5 minutes',
    gauges: { [`rhone_disk_free_bytes{${RHONE}}`]: '21x10 19x60', [`rhone_disk_size_bytes{${RHONE}}`]: '100x70' },
    silent: [10, 15.5],
    fires: [16.5]
  },
  {
    alert: 'CriticalDiskSpace',
    that: 'less than a tenth pages after a minute',
    gauges: { [`rhone_disk_free_bytes{${RHONE}}`]: '11x10 9x60', [`rhone_disk_size_bytes{${RHONE}}`]: '100x70' },
    silent: [10, 11.5],
    fires: [12.5]
  }
]

const pool = (state: string) => `rhone_db_pool_connections{state="${state}",instance="a"}`
const query = (le: string) => `rhone_db_query_duration_seconds_bucket{query="select",le="${le}"}`
const lookup = (outcome: string) => `rhone_cache_requests_total{cache="apps",outcome="${outcome}"}`

const dependencies: AlertCase[] = [
  {
    alert: 'DatabaseDown',
    that: 'a minute without the database is a page',
    gauges: { 'rhone_dependency_up{service="database"}': '1x5 0x60' },
    silent: [6.5],
    fires: [7.5]
  },
  {
    alert: 'DatabaseConnectionIssues',
    that: 'a pool in use with waiting operations fires after 5 minutes',
    gauges: { [pool('in_use')]: '81x60', [pool('idle')]: '19x60', [pool('waiting')]: '0x5 1x60' },
    silent: [5, 10.5],
    fires: [11.5]
  },
  {
    alert: 'DatabaseConnectionIssues',
    that: 'a pool with room is silent',
    gauges: { [pool('in_use')]: '79x60', [pool('idle')]: '21x60', [pool('waiting')]: '1x60' },
    silent: [50]
  },
  {
    alert: 'SlowQueries',
    that: 'P99 above a second fires after 5 minutes',
    counters: [{ minutes: HOUR, perMinute: { [query('1')]: 989, [query('2.5')]: 1000, [query('+Inf')]: 1000 } }],
    silent: [5.5],
    fires: [6.5]
  },
  {
    alert: 'SlowQueries',
    that: 'just below is silent',
    counters: [{ minutes: HOUR, perMinute: { [query('1')]: 991, [query('2.5')]: 1000, [query('+Inf')]: 1000 } }],
    silent: [50]
  },
  {
    alert: 'RedisDown',
    that: 'five minutes without Redis are told',
    gauges: { 'rhone_dependency_up{service="redis"}': '1x5 0x60' },
    silent: [10.5],
    fires: [11.5]
  },
  {
    alert: 'DependencyDown',
    that: 'ten minutes without Fly are told, and the database has an alert of its own',
    gauges: { 'rhone_dependency_up{service="fly"}': '1x5 0x60', 'rhone_dependency_up{service="database"}': '1x70' },
    silent: [15.5],
    fires: [16.5]
  },
  {
    alert: 'DependencyDown',
    that: 'the database and Redis have alerts of their own',
    gauges: { 'rhone_dependency_up{service="redis"}': '0x60', 'rhone_dependency_up{service="database"}': '0x60' },
    silent: [50]
  },
  {
    alert: 'LowCacheHitRate',
    that: 'below 80 % fires after 10 minutes',
    counters: [{ minutes: HOUR, perMinute: { [lookup('hit')]: 790, [lookup('miss')]: 210 } }],
    silent: [10.5],
    fires: [13]
  },
  {
    alert: 'LowCacheHitRate',
    that: 'just above is silent, and so is a cache that hardly anybody asks',
    counters: [{ minutes: HOUR, perMinute: { [lookup('hit')]: 81, [lookup('miss')]: 19 } }],
    silent: [50]
  },
  {
    alert: 'LowCacheHitRate',
    that: 'a cache that hardly anybody asks is silent',
    counters: [{ minutes: HOUR, perMinute: { [lookup('hit')]: 0, [lookup('miss')]: 58 } }],
    silent: [50]
  },
  {
    alert: 'CacheEvictions',
    that: 'more than a hundred a second fire after 5 minutes',
    counters: [idle, { minutes: HOUR, perMinute: { 'rhone_cache_evictions_total{cache="apps"}': 6100 } }],
    silent: [19],
    fires: [21.5]
  },
  {
    alert: 'CacheEvictions',
    that: 'just below is silent',
    counters: [{ minutes: HOUR, perMinute: { 'rhone_cache_evictions_total{cache="apps"}': 5900 } }],
    silent: [50]
  },
  {
    alert: 'SecretOverdue',
    that: 'a secret that is as old as its schedule allows is told after an hour, another is not',
    gauges: {
      'rhone_secret_age_seconds{name="METRICS_TOKEN",instance="a"}': '7775940+60x100',
      'rhone_secret_schedule_seconds{name="METRICS_TOKEN",instance="a"}': '7776000x100'
    },
    silent: [60],
    fires: [62]
  },
  {
    alert: 'SecretOverdue',
    that: 'a secret is judged by its own schedule',
    gauges: {
      'rhone_secret_age_seconds{name="ENCRYPTION_KEYS",instance="a"}': '7776001+60x100',
      'rhone_secret_schedule_seconds{name="ENCRYPTION_KEYS",instance="a"}': '31536000x100',
      'rhone_secret_schedule_seconds{name="METRICS_TOKEN",instance="a"}': '7776000x100'
    },
    silent: [90]
  },
  {
    alert: 'SecretSourceAway',
    that: 'a source that one instance has not read for ten minutes is told after five more',
    gauges: {
      'rhone_secrets_source_age_seconds{instance="a"}': '0+60x60',
      'rhone_secrets_source_age_seconds{instance="b"}': '15x60'
    },
    silent: [15],
    fires: [16.5]
  },
  {
    alert: 'SecretSourceAway',
    that: 'ten minutes are silent',
    gauges: { 'rhone_secrets_source_age_seconds{instance="a"}': '600x60' },
    silent: [50]
  }
]

const deployment = (to: string) => `rhone_deployments_total{status="${to}",trigger="api"}`

const work: AlertCase[] = [
  {
    alert: 'AuditWriteFailures',
    that: 'one lost event is told within two minutes, for a quarter of an hour',
    gauges: { rhone_audit_write_failures_total: '0x5 1x60' },
    silent: [5, 6.5, 22],
    fires: [7.5, 19]
  },
  {
    alert: 'AuditUnsealed',
    that: 'a row that is not sealed for a minute is told after two more',
    gauges: { rhone_audit_unsealed_age_seconds: '59x10 61x60' },
    silent: [10, 12.5],
    fires: [13.5]
  },
  {
    alert: 'JobStale',
    that: 'a chore that has not succeeded for two hours is told after 5 more minutes',
    gauges: { 'rhone_chore_last_success_timestamp_seconds{chore="retention"}': '0x200' },
    silent: [125],
    fires: [126.5]
  },
  {
    alert: 'BackupMissing',
    that: 'a backup older than 26 hours is told after 5 more minutes, whatever else has ended well',
    gauges: { rhone_backup_last_success_timestamp_seconds: '0x1700' },
    silent: [1564],
    fires: [1566.5]
  },
  {
    alert: 'BackupMissing',
    that: 'one instance that knows of a newer backup is believed',
    gauges: {
      'rhone_backup_last_success_timestamp_seconds{instance="a"}': '0x1700',
      'rhone_backup_last_success_timestamp_seconds{instance="b"}': '6000x1700'
    },
    silent: [1600]
  },
  {
    alert: 'ArchiveDelayed',
    that: 'a piece of the log that has waited for more than five minutes is told after 5 more',
    gauges: { rhone_archive_delay_seconds: '300x10 301x30' },
    silent: [15],
    fires: [17]
  },
  {
    alert: 'ArchiveBroken',
    that: 'an archive with a gap is told when no base backup has followed for a quarter of an hour',
    gauges: { rhone_archive_recoverable: '1x10 0x40' },
    silent: [25],
    fires: [27]
  },
  {
    alert: 'RestoreDrillStale',
    that: 'a drill older than eight days is told after an hour',
    gauges: { rhone_restore_drill_last_success_timestamp_seconds: '-691200x90' },
    silent: [59],
    fires: [62]
  },
  {
    alert: 'RestoreDrillStale',
    that: 'a drill of the last week is not told',
    gauges: { rhone_restore_drill_last_success_timestamp_seconds: '-604800x90' },
    silent: [62]
  },
  {
    alert: 'RestoreTooSlow',
    that: 'a drill that took more than an hour is told after an hour',
    gauges: { rhone_restore_drill_duration_seconds: '3600x10 3601x120' },
    silent: [70],
    fires: [73]
  },
  {
    alert: 'WebhookQueueBacklog',
    that: 'a hundred deliveries that wait for a quarter of an hour are told',
    gauges: { 'rhone_jobs_waiting{queue="github-webhook"}': '100x10 101x60' },
    silent: [29.5],
    fires: [31.5]
  },
  {
    alert: 'WebhookQueueBacklog',
    that: 'a hundred and no more are not told, nor those of another queue',
    gauges: { 'rhone_jobs_waiting{queue="github-webhook"}': '100x60', 'rhone_jobs_waiting{queue="deploy"}': '200x60' },
    silent: [50]
  },
  {
    alert: 'JobBacklog',
    that: 'a hundred jobs that wait for a quarter of an hour are told',
    gauges: { 'rhone_jobs_waiting{queue="deploy"}': '100x10 101x60' },
    silent: [29.5],
    fires: [31.5]
  },
  {
    alert: 'JobBacklog',
    that: 'deliveries have an alert of their own',
    gauges: { 'rhone_jobs_waiting{queue="github-webhook"}': '200x60', 'rhone_jobs_waiting{queue="deploy"}': '100x60' },
    silent: [50]
  },
  {
    alert: 'JobsFailing',
    that: 'a dead job is told within two minutes, for an hour',
    gauges: { 'rhone_jobs_total{queue="deploy",outcome="dead"}': '0x5 1x90' },
    silent: [5, 6.5, 67],
    fires: [7.5, 63]
  },
  {
    alert: 'WebhooksRefused',
    that: 'twenty false signatures in a quarter of an hour are told',
    counters: [
      { minutes: HOUR, perMinute: { 'rhone_webhooks_total{source="github",outcome="invalid_signature"}': 1.45 } }
    ],
    fires: [40]
  },
  {
    alert: 'WebhooksRefused',
    that: 'fewer are not',
    counters: [
      { minutes: HOUR, perMinute: { 'rhone_webhooks_total{source="github",outcome="invalid_signature"}': 1.3 } }
    ],
    silent: [40]
  },
  {
    alert: 'WebhooksRefused',
    that: 'it must last 5 minutes',
    counters: [
      { minutes: HOUR, perMinute: { 'rhone_webhooks_total{source="github",outcome="invalid_signature"}': 100 } }
    ],
    silent: [5.5],
    fires: [6.5]
  },
  {
    alert: 'DeployFailureSpike',
    that: 'more than half of the deployments failing is told after 5 minutes',
    counters: [{ minutes: HOUR, perMinute: { [deployment('live')]: 4.9, [deployment('build_failed')]: 5.1 } }],
    silent: [5.5],
    fires: [6.5]
  },
  {
    alert: 'DeployFailureSpike',
    that: 'just below half is silent',
    counters: [{ minutes: HOUR, perMinute: { [deployment('live')]: 5.1, [deployment('build_failed')]: 4.9 } }],
    silent: [50]
  },
  {
    alert: 'DeployFailureSpike',
    that: 'four failures of four in half an hour are silent',
    counters: [{ minutes: 2 * HOUR, perMinute: { [deployment('deploy_failed')]: 4.5 / 30 } }],
    silent: [110]
  },
  {
    alert: 'DeployFailureSpike',
    that: 'six of six are told',
    counters: [{ minutes: 2 * HOUR, perMinute: { [deployment('deploy_failed')]: 5.5 / 30 } }],
    fires: [110]
  },
  {
    alert: 'AuthFailureSpike',
    that: 'more than five failures a second fire after 10 minutes',
    counters: [idle, { minutes: HOUR, perMinute: { 'rhone_auth_failures_total{reason="unknown"}': 310 } }],
    silent: [24],
    fires: [26.5]
  },
  {
    alert: 'AuthFailureSpike',
    that: 'just below is silent',
    counters: [{ minutes: HOUR, perMinute: { 'rhone_auth_failures_total{reason="unknown"}': 290 } }],
    silent: [50]
  }
]

const expiry = 'probe_ssl_last_chain_expiry_timestamp_seconds{instance="https://x"}'
const ownExpiry = 'rhone_tls_certificate_expiry_timestamp_seconds{name="database",instance="a"}'
const days = (count: number) => count * DAY * 60

/** All requests fail, then all succeed: the alert resolves when the window contains few enough failures. */
const forgets = (alert: string, bad: Phase, good: Phase, lastBad: number, firstGood: number): AlertCase => ({
  alert,
  that: 'it looks at its own window, and no further back',
  counters: [bad, good],
  fires: [bad.minutes + lastBad],
  silent: [bad.minutes + firstGood]
})

const latency = (fast: number, all: number, minutes: number): Phase => ({
  minutes,
  perMinute: { [bucket('0.5')]: fast, [bucket('1')]: all, [bucket('+Inf')]: all }
})
const statements = (fast: number, all: number, minutes: number): Phase => ({
  minutes,
  perMinute: { [query('1')]: fast, [query('2.5')]: all, [query('+Inf')]: all }
})
const lookups = (hits: number, misses: number, minutes: number): Phase => ({
  minutes,
  perMinute: { [lookup('hit')]: hits, [lookup('miss')]: misses }
})
const deployments = (live: number, failed: number, minutes: number): Phase => ({
  minutes,
  perMinute: { [deployment('live')]: live, [deployment('build_failed')]: failed }
})

const memories: AlertCase[] = [
  {
    alert: 'rhone:slo_error:rate5m',
    that: 'it is of five minutes',
    counters: [served(30, 0, 60), served(30, 0, 0)],
    recorded: { 33: 0.4 }
  },
  {
    alert: 'rhone:slo_valid:rate5m',
    that: 'it is of five minutes',
    counters: [served(30, 60, 0), served(30, 0, 0)],
    recorded: { 33: 0.4 }
  },
  forgets('HighResponseTime', latency(0, 100, 30), latency(100, 100, 30), 4, 6),
  forgets('SlowQueries', statements(0, 100, 30), statements(100, 100, 30), 4, 6),
  forgets('LowCacheHitRate', lookups(0, 100, 40), lookups(100, 0, 40), 7, 9.5),
  forgets('DeployFailureSpike', deployments(0, 2, 60), deployments(2, 0, 60), 14, 17),
  forgets('ClientsLeaving', served(60, 0, 100, 'gone'), served(60, 100, 0, 'gone'), 12.5, 14.5),
  forgets('SLOLatencyBreach', served(120, 0, 100, 'slow'), served(120, 100, 0, 'slow'), 54, 59),
  {
    alert: 'SLOLatencyBreach',
    that: 'slow ones of the whole window count',
    counters: [served(5, 0, 1, 'slow'), served(40, 0, 0), served(8, 0, 1, 'slow'), served(30, 0, 0)],
    fires: [58]
  },
  {
    alert: 'SLOLatencyBreach',
    that: 'slow ones before the window do not',
    counters: [served(5, 0, 1, 'slow'), served(66, 0, 0), served(8, 0, 1, 'slow'), served(30, 0, 0)],
    silent: [82]
  },
  {
    alert: 'ClientsLeaving',
    that: 'six requests a minute are enough traffic, and few more than that too',
    counters: [served(HOUR, 2, 5, 'gone')],
    fires: [50]
  },
  {
    alert: 'HighErrorRate',
    that: 'seven requests a minute are enough traffic',
    counters: [{ minutes: HOUR, perMinute: { [status('500')]: 7 } }],
    fires: [50]
  },
  {
    alert: 'LowCacheHitRate',
    that: 'a little more than one look-up a second is enough traffic',
    counters: [lookups(0, 63, HOUR)],
    fires: [50]
  },
  {
    alert: 'ErrorBudgetSlowBurn',
    that: 'six failures are enough',
    step: 6,
    ...recorded(served(18, 0, 0.34), served(HOUR, 0, 0)),
    fires: [60]
  },
  {
    alert: 'ErrorBudgetBurn10Percent',
    that: 'six failures are enough',
    step: 6,
    ...recorded(served(18, 0, 0.34), served(3 * HOUR, 0, 0)),
    fires: [120]
  },
  {
    alert: 'rhone:slo_budget_remaining:ratio',
    that: 'a quarter of a percent of failures leaves half of the budget',
    step: 6,
    ...recorded(served(8 * HOUR, 9975, 25)),
    recorded: { 460: 0.5 }
  },
  {
    alert: 'rhone:slo_budget_remaining:ratio',
    that: 'four hours of failure in 30 days are 0.4 more than there are',
    step: 60,
    ...recorded(served(30 * DAY - 4 * HOUR, 100, 0), served(4 * HOUR, 0, 100), served(HOUR, 0, 0)),
    recorded: { [30 * DAY]: -0.1111 }
  }
]

const certificates: AlertCase[] = [
  {
    alert: 'SSLCertificateExpiringSoon',
    that: 'thirty days before the end it is told, after an hour',
    gauges: { [expiry]: `${days(30) + 30 * 60}x200` },
    silent: [29, 90],
    fires: [92]
  },
  {
    alert: 'SSLCertificateExpired',
    that: 'the end is a page after a minute',
    gauges: { [expiry]: `${30 * 60}x200` },
    silent: [30, 31],
    fires: [32]
  },
  {
    alert: 'SSLCertificateExpiringSoon',
    that: 'the certificates that an instance sees count, too',
    gauges: { [ownExpiry]: `${days(30) + 30 * 60}x200` },
    silent: [29, 90],
    fires: [92]
  },
  {
    alert: 'SSLCertificateExpired',
    that: 'the certificates that an instance sees count, too',
    gauges: { [ownExpiry]: `${30 * 60}x200` },
    silent: [30, 31],
    fires: [32]
  },
  { alert: 'Watchdog', that: 'always fires', gauges: { [up('a')]: '1x60' }, fires: [0, 50] }
]

export const alertCases: readonly AlertCase[] = [
  ...burns,
  ...windows,
  ...budget,
  ...availability,
  ...resources,
  ...dependencies,
  ...work,
  ...memories,
  ...certificates
]
