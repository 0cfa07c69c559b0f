import Glibc
import LabTools
package import MeshCore

/// Whoever asked is told here.
package protocol Asker: AnyObject {
    func answered(_ ticket: Int, _ response: ClientResponse)
    /// The connection closed before an answer came.
    func lost(_ ticket: Int)
}

/// A connection to an agent's Unix socket, as an application has it: requests in, answers in their order.
package final class Connection: Source {
    package private(set) var descriptor: Int32
    private unowned let asker: any Asker
    private var parser = RESPParser(limits: .replies)
    private var pending: [UInt8] = []
    private var sent = 0
    /// What was asked and is not answered, oldest first, from ``oldest`` on.
    private var asked: [(ticket: Int, kind: ClientRequest.Kind)] = []
    private var oldest = 0

    package init(to socket: String, for asker: any Asker) throws {
        self.asker = asker
        descriptor = try UnixSocket.connect(socket)
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    }

    deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

    package var unanswered: Int { asked.count - oldest }
    package var wantsWrite: Bool { sent < pending.count }

    package func ask(_ ticket: Int, _ request: ClientRequest) {
        asked.append((ticket, request.kind))
        ClientProtocol.encode(.request(request)).append(to: &pending)
        write()
    }

    package func isReady(toRead: Bool, toWrite: Bool) {
        if toWrite { write() }
        if toRead { read() }
    }

    private func write() {
        guard descriptor >= 0 else { return }
        while sent < pending.count {
            let count = pending[sent...].withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else {
                // Reading tells that it is closed, after what was answered before.
                return
            }
            sent += count
        }
        pending.removeAll(keepingCapacity: true)
        sent = 0
    }

    private func read() {
        var isOver = false
        withUnsafeTemporaryAllocation(byteCount: 64 * 1024, alignment: 1) { buffer in
            let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            if count > 0 { parser.append(buffer[..<count]) }
            isOver = count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR)
        }
        do {
            while oldest < asked.count, let value = try parser.next() {
                let (ticket, kind) = asked[oldest]
                oldest += 1
                asker.answered(ticket, try ClientProtocol.decode(value, to: kind))
            }
        } catch {
            // Nothing that an agent may say. Its client hangs up, and the ordeal will not end well.
            Say.progress("an agent said what no client understands: \(error)")
            isOver = true
        }
        if oldest == asked.count || oldest > 1024 {
            asked.removeFirst(oldest)
            oldest = 0
        }
        if isOver { close() }
    }

    /// Hangs up. Whatever is not answered is lost.
    package func close() {
        guard descriptor >= 0 else { return }
        Glibc.close(descriptor)
        descriptor = -1
        let lost = asked[oldest...]
        asked.removeAll()
        oldest = 0
        for (ticket, _) in lost { asker.lost(ticket) }
    }
}
