import MeshCore

extension MirrorClaim.NonDestructive {
    /// What can be asked of logs that agents may be reading: a slot's log is the mesh's, so nothing is appended.
    static let ofLogs = [
        Self("a log is read from its present end on, and a reader waits no longer than it wants to") { store in
            try await withMirror(on: store) { mirror in
                let slot = Slot(masking: .random(in: 0..<UInt16(Slot.count)))
                let end = try await mirror.tail(slot, after: nil, waiting: .seconds(60))
                try expect(end.items.isEmpty && !end.isGapped, "the present end and nothing else", saw: end)
                // Agents may have appended since.
                let tail = try await mirror.tail(slot, after: end.mark, waiting: .milliseconds(20))
                try expect(!tail.isGapped, "what was appended since \(end.mark)", saw: tail)
                try expect(tail.mark, is: tail.items.last?.mark ?? end.mark)
            }
        },
        Self("an item of more than 64 KiB is refused") { store in
            try await withMirror(on: store) { mirror in
                let item = [UInt8](repeating: 1, count: ChannelItem.payloadMax + 1)
                try await expect(.refused) { try await mirror.append([item], to: Slot(masking: .random(in: 0..<UInt16(Slot.count)))) }
            }
        },
    ]
}

extension MirrorClaim {
    /// What is appended, and who reads it.
    static let ofLogs = [
        Self("what is appended to a slot's log is read once and in order, by whoever reads it") { store in
            try await withMirror(on: store) { mirror in
                let (slot, other) = (Slot(masking: 7), Slot(masking: 4095))
                let empty = try await mirror.tail(slot, after: nil, waiting: .zero)
                try expect(empty.items.isEmpty && !empty.isGapped, "an empty log", saw: empty)
                let payloads: [[UInt8]] = [[], [0, 13, 10, 255], Array("three".utf8)]
                let mark = try await mirror.append(payloads, to: slot)
                try await mirror.append([[9]], to: other)
                let tail = try await mirror.tail(slot, after: empty.mark, waiting: .zero)
                try expect(
                    tail.items.map(\.payload) == payloads && tail.mark == mark && !tail.isGapped, "\(payloads) up to \(mark)", saw: tail)
                let rest = try await mirror.tail(slot, after: tail.items.first?.mark, waiting: .zero)
                try expect(
                    rest.items.map(\.payload) == Array(payloads.dropFirst()) && rest.mark == mark && !rest.isGapped,
                    "\(payloads.dropFirst()) up to \(mark)", saw: rest)
                let end = ChannelTail(items: [], mark: mark, isGapped: false)
                try expect(await mirror.tail(slot, after: nil, waiting: .seconds(60)), is: end)
                try expect(await mirror.tail(slot, after: mark, waiting: .milliseconds(20)), is: end)
            }
        },
        Self("a reader that waits is given what two writers append, each item once") { store in
            try await withMirror(on: store) { left in
                try await withMirror(on: store) { right in
                    let slot = Slot(masking: 99)
                    let start = try await left.append([[0, 0]], to: slot)
                    async let read = {
                        var (mark, payloads) = (start, [[UInt8]]())
                        while payloads.count < 400 {
                            let tail = try await right.tail(slot, after: mark, waiting: .seconds(60))
                            try expect(!tail.isGapped, "no gap after \(mark)", saw: tail)
                            if tail.items.isEmpty { break }
                            payloads += tail.items.map(\.payload)
                            mark = tail.mark
                        }
                        return payloads
                    }()
                    async let first: Void = { for n in 0..<200 { try await left.append([[1, UInt8(n)]], to: slot) } }()
                    async let second: Void = { for n in 0..<200 { try await right.append([[2, UInt8(n)]], to: slot) } }()
                    _ = try await (first, second)
                    let payloads = try await read
                    for writer: UInt8 in [1, 2] {
                        try expect(payloads.filter { $0.first == writer }, is: (0..<200).map { [writer, UInt8($0)] })
                    }
                }
            }
        },
        Self("a reader that comes too late, or whose log was emptied, is told that something is lost") { store in
            try await withMirror(on: store) { mirror in
                let slot = Slot(masking: 3)
                let start = try await mirror.append([[1]], to: slot)
                for _ in 0..<40 { try await mirror.append(Array(repeating: [2], count: 256), to: slot) }
                let late = try await mirror.tail(slot, after: start, waiting: .zero)
                try expect(late.isGapped && !late.items.isEmpty, "items behind a gap", saw: late)
                let (mark, count) = try await readToTheEnd(slot, after: late.mark, on: mirror)
                try expect(count + late.items.count >= ChannelTail.keptMin, "\(ChannelTail.keptMin) items at least", saw: count)
                try expect(mark.offset, is: 1 + 40 * 256)
                try await store.flush()
                let emptied = try await mirror.tail(slot, after: mark, waiting: .seconds(60))
                try expect(emptied.isGapped && emptied.items.isEmpty, "a gap and nothing else", saw: emptied)
                try await mirror.append([[3]], to: slot)
                let anew = try await mirror.tail(slot, after: emptied.mark, waiting: .zero)
                try expect(
                    anew.items.map(\.payload) == [[3]] && !anew.isGapped && anew.mark.generation != mark.generation,
                    "one item of another generation than \(mark.generation)", saw: anew)
            }
        },
        Self("an item of a log may be 64 KiB and not a byte more") { store in
            try await withMirror(on: store) { mirror in
                let slot = Slot(masking: 0)
                let payload = (0..<ChannelItem.payloadMax).map { UInt8(truncatingIfNeeded: $0 * 7) }
                try await mirror.append([payload], to: slot)
                try await expect(.refused) { try await mirror.append([[1], payload + [0]], to: slot) }
                let tail = try await mirror.tail(slot, after: .beginning, waiting: .zero)
                try expect(tail.items.map(\.payload) == [payload] && !tail.isGapped, "the item that was not refused", saw: tail)
                // However many there are, none is left out and no answer is too large.
                for _ in 0..<20 { try await mirror.append([payload, payload], to: slot) }
                try expect(await readToTheEnd(slot, after: tail.mark, on: mirror).count, is: 40)
            }
        },
    ]

    /// The end of a log and how many items stand between `mark` and it, of which none may be lost.
    private static func readToTheEnd(
        _ slot: Slot, after mark: ChannelMark, on mirror: any MeshCore.Mirror
    ) async throws -> (mark: ChannelMark, count: Int) {
        var (mark, count) = (mark, 0)
        while true {
            let tail = try await mirror.tail(slot, after: mark, waiting: .zero)
            let bytes = tail.items.reduce(0) { $0 + $1.payload.count }
            try expect(!tail.isGapped, "no gap after \(mark)", saw: tail)
            try expect(bytes <= ChannelTail.bytesMax, "\(ChannelTail.bytesMax) bytes at most", saw: bytes)
            if tail.items.isEmpty { return (mark, count) }
            (mark, count) = (tail.mark, count + tail.items.count)
        }
    }
}
