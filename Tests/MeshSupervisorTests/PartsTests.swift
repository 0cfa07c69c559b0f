import Foundation
import Glibc
import Testing

@testable import MeshSupervisor

/// What a supervisor is made of.
@Suite struct PartsTests {
    /// The lines that come out of a pipe, and what a reader of at most eight bytes makes of them.
    private func lines(_ pieces: [String], isClosed: Bool) -> [String] {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0 else { return [] }
        var reader = LineReader(ends[0], 8)
        var lines: [String] = []
        for piece in pieces {
            write(ends[1], piece, piece.utf8.count)
            reader.readWhatIsThere { lines.append($0) }
        }
        close(ends[1])
        if isClosed { reader.readWhatIsThere { lines.append($0) } } else { close(ends[0]) }
        #expect((reader.descriptor < 0) == isClosed)
        return lines
    }

    @Test func aLineIsWholeHoweverItComesAndALongOneComesInPieces() {
        #expect(lines(["a", "b\nc", "\n\n"], isClosed: false) == ["ab", "c", ""])
        #expect(lines(["0123456789\n"], isClosed: false) == ["01234567", "89"])
        #expect(lines(["end"], isClosed: true) == ["end"])
        #expect(lines([], isClosed: true) == [])
    }

    @Test(
        arguments: [
            ("READY=1", ["READY": "1"]), ("READY=1\nSTATUS=a=b\njunk\n=x", ["READY": "1", "STATUS": "a=b", "": "x"]), ("junk", nil),
            (String(repeating: "x", count: 5000), nil),
        ] as [(String, [String: String]?)])
    func aNoticeIsReadLineByLine(text: String, fields: [String: String]?) throws {
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0, &ends) == 0)
        defer { for end in ends { close(end) } }
        send(ends[0], text, text.utf8.count, 0)
        #expect(Notice.receive(from: ends[1]) == fields)
        #expect(Notice.receive(from: ends[1]) == nil, "nothing more has come")
    }

    @Test func aPortIsNotGivenTwiceBeforeItIsGivenBack() throws {
        let free = try Stage.freePort()
        var pool = PortPool(host: [127, 0, 0, 1], range: free.port...free.port, reserved: [])
        #expect(pool.take() == free.port)
        #expect(pool.take() == nil)
        pool.giveBack(free.port)
        #expect(pool.take() == free.port)
    }

    /// Ancestors' fault U8: workers were given the balancer's.
    @Test func workersAreNeverGivenThePortOfTheBalancer() throws {
        let free = try Stage.freePort()
        var pool = PortPool(host: [127, 0, 0, 1], range: free.port...free.port, reserved: [free.port])
        #expect(pool.freeCount == 0)
        #expect(pool.take() == nil)
    }

    @Test func whereThisProcessListensIsFoundInProc() throws {
        let port = try Stage.freePort()
        let descriptor = try port.hold()
        defer { close(descriptor) }
        #expect(ProcessScan.listeningPorts(ofGroup: getpgrp()).contains(port.port))
        #expect(ProcessScan.members(ofGroup: getpgrp()).contains(getpid()))
        #expect(ProcessScan.memoryByGroup()[getpgrp()].map { $0 > 1 << 20 } ?? false)
    }

    @Test func aPrivateDirectoryIsThisUsersAloneAndGoesWithItsFiles() throws {
        let directory = try PrivateDirectory.make("sessionmesh-test", environment: [:])
        var status = stat()
        try #require(stat(directory.path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o700)
        try Data().write(to: URL(filePath: "\(directory.path)/socket"))
        directory.remove()
        #expect(access(directory.path, F_OK) != 0)
    }
}
