/* The parts of pages, for views: one import. `/design` shows each in every state. */
export * from './parts/display.ts'
export * from './parts/forms.ts'
export { type IconName, icon } from './parts/icons.ts'
export * from './parts/log.ts'
export { numberOf } from './parts/numbers.ts'
export { ago, duration, moment } from './parts/time.ts'
