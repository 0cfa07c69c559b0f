/// Makes the head that is passed on out of the head that came, in place.
///
/// The new head ends exactly where the old one ended, so that the body bytes behind it go out in the same send. Kept field lines only ever move up, over the
/// dropped ones; our own lines and the first line grow down into the head room in front. Nothing is copied that does not move.
public enum HeadRewriter {
    /// - Parameters:
    ///   - base: the first byte of the old head; the memory in front of it must hold what the head grows by.
    ///   - firstLine: the bytes of the first line, CRLF included, relative to `base`; moved in front of `added`.
    ///   - added: our own lines, each with its CRLF.
    ///   - end: behind the blank line, relative to `base`.
    /// - Returns: where the new head begins, relative to `base`. May be negative.
    public static func rewrite(
        _ base: UnsafeMutableRawPointer, firstLine: Range<Int>, fields: [HeadField], adding added: UnsafeRawBufferPointer, end: Int
    ) -> Int {
        // The blank line stays; from there backwards, runs of kept lines close up.
        var front = end - 2
        var index = fields.count - 1
        while index >= 0 {
            if fields[index].isDropped {
                index -= 1
                continue
            }
            let runEnd = Int(fields[index].end)
            while index > 0, !fields[index - 1].isDropped { index -= 1 }
            let runStart = Int(fields[index].start)
            front -= runEnd - runStart
            if front != runStart { (base + front).copyMemory(from: base + runStart, byteCount: runEnd - runStart) }
            index -= 1
        }
        front -= added.count
        let start = front - firstLine.count
        // The first line leaves before our lines come: they may land on where it was.
        if start != firstLine.lowerBound { (base + start).copyMemory(from: base + firstLine.lowerBound, byteCount: firstLine.count) }
        if let source = added.baseAddress { (base + front).copyMemory(from: source, byteCount: added.count) }
        return start
    }
}
