import assert from 'node:assert/strict'
import type { Locator, Page } from 'playwright-core'

/* Ways to use a page: with a mouse, or with the keyboard only. */

export interface Input {
  fill(field: Locator, text: string): Promise<void>
  press(target: Locator): Promise<void>
}

/** Works without scripts, too. */
export const mouse: Input = {
  fill: (field, text) => field.fill(text),
  press: target => target.click()
}

const MOST_STOPS = 120
/** Whether the focused element is visibly marked. */
const IS_FOCUS_VISIBLE = `(() => {
  const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement)
  return outlineStyle !== 'none' && parseFloat(outlineWidth) > 0
})()`

/** Starts from the current focus; every target must show that it has the focus. */
export function keyboard(page: Page): Input {
  const hasFocus = (target: Locator) => target.evaluate(element => element === element.ownerDocument.activeElement)

  async function reach(target: Locator): Promise<void> {
    await target.waitFor()
    for (let stop = 0; stop < MOST_STOPS; stop++) {
      if (await hasFocus(target)) {
        assert.ok(await page.evaluate(IS_FOCUS_VISIBLE), `nothing shows that ${target} has the focus`)
        return
      }
      await page.keyboard.press('Tab')
    }
    throw new Error(`${target} cannot be reached with ${MOST_STOPS} tabs on ${page.url()}`)
  }

  return {
    async fill(field, text) {
      await reach(field)
      await page.keyboard.press('ControlOrMeta+a')
      await page.keyboard.type(text)
    },
    async press(target) {
      await reach(target)
      await page.keyboard.press('Enter')
    }
  }
}
