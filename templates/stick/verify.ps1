# Checks every file of this medium against SHA256SUMS, with what Windows has:
#   powershell -ExecutionPolicy Bypass -File verify.ps1
$ErrorActionPreference = 'Stop'
Set-Location -LiteralPath $PSScriptRoot
$wrong = 0
$checked = 0
foreach ($line in [IO.File]::ReadAllLines((Join-Path $PSScriptRoot 'SHA256SUMS'))) {
    if ($line -notmatch '^([0-9A-Fa-f]{64})  ([A-Za-z0-9._-]+)$') {
        if ($line.Trim() -eq '') { continue }
        Write-Host "SHA256SUMS has a line that says nothing: $line"
        $wrong++
        continue
    }
    $expected = $Matches[1]
    $name = $Matches[2]
    $checked++
    if (-not (Test-Path -LiteralPath $name -PathType Leaf)) {
        Write-Host "${name}: MISSING"
        $wrong++
    } elseif ((Get-FileHash -LiteralPath $name -Algorithm SHA256).Hash -ine $expected) {
        Write-Host "${name}: DAMAGED"
        $wrong++
    } else {
        Write-Host "${name}: OK"
    }
}
if ($checked -eq 0 -or $wrong -ne 0) {
    Write-Host "$wrong wrong, $checked checked. Do not use them: copy them again."
    exit 1
}
Write-Host "all $checked files are whole"
